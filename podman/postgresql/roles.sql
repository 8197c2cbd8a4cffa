-- Brings one role and its database to what they should be: psql --set=name=ROLE --set=secret=FILE --file=roles.sql.
\set ON_ERROR_STOP on
\set password `cat :'secret'`
SELECT format('CREATE ROLE %I', :'name') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
ALTER ROLE :"name" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER %I', :'name', :'name')
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
-- This one looks after the server: it sees what the server counts, and no table of the others.
SELECT 'GRANT pg_monitor TO monitoring' WHERE :'name' = 'monitoring' \gexec
