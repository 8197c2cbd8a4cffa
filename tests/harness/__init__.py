"""What the acceptance tests stand on: a stack to test, its people, and real files to drop."""
