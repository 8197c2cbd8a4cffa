# The configuration that README.md shows.
{
  services.dicom-stack = {
    enable = true;
    domain = "pacs.example.org";
    acmeEmail = "it@example.org";
    dataDir = "/srv/dicom-stack";
    doors.page.enable = true;
    mail = {
      host = "mail.example.org";
      from = "pacs@example.org";
      user = "pacs";
    };
    alertEmail = ["it@example.org"];
    secretFiles.smtp_password = "/var/lib/secrets/smtp_password";
  };
  security.acme.acceptTerms = true;
}
