# What an operator sets, and what is said when it cannot work.
{
  config,
  lib,
  ...
}: let
  inherit (lib) all attrValues concatLists hasPrefix mapAttrsToList mkEnableOption mkOption toInt;
  inherit (lib.types) attrsOf bool int ints listOf nullOr port str strMatching;

  inherit (import ./library.nix) readSettings;
  cfg = config.services.dicom-stack;
  defaults = readSettings ../podman/defaults.env;
  inStore = path: path != null && hasPrefix builtins.storeDir path;
in {
  options.services.dicom-stack = {
    enable = mkEnableOption "the DICOM Web Viewer Stack";
    domain = mkOption {
      type = strMatching "[a-z0-9]([a-z0-9.-]*[a-z0-9])?";
      example = "pacs.example.org";
      description = "Name under which browsers reach this host.";
    };
    acmeEmail = mkOption {
      type = nullOr str;
      default = null;
      example = "it@example.org";
      description = "Address for the certificate authority that makes and renews the certificate by ACME.";
    };
    certificateFile = mkOption {
      type = nullOr str;
      default = null;
      example = "/var/lib/pacs/fullchain.pem";
      description = "Certificate chain (PEM) for `domain`, where none is made by ACME.";
    };
    certificateKeyFile = mkOption {
      type = nullOr str;
      default = null;
      example = "/run/secrets/pacs.key";
      description = "Its key (PEM), readable by the group nginx.";
    };
    dataDir = mkOption {
      type = strMatching "/[^:[:space:]]+";
      default = defaults.DATA_DIR;
      example = "/tank/dicom-stack";
      description = "Where everything that must survive lies: archive, databases, inboxes, secrets.";
    };
    adminNetworks = mkOption {
      type = listOf str;
      default = [defaults.ADMIN_NETWORKS];
      example = ["127.0.0.0/8" "192.168.7.0/24"];
      description = "Networks from which Keycloak's admin console opens.";
    };
    trustedProxies = mkOption {
      type = listOf str;
      default = [];
      example = ["192.0.2.0/24"];
      description = "Proxies or a CDN in front of this host, whose X-Forwarded-For says who the client is.";
    };
    interfaces = mkOption {
      type = listOf str;
      default = [];
      example = ["enp3s0"];
      description = "Network interfaces whose ports 80 and 443 are opened in the firewall; none means all.";
    };
    cooldownSeconds = mkOption {
      type = int;
      default = toInt defaults.COOLDOWN_S;
      example = 120;
      description = "A study is taken when nothing in it has changed for so many seconds.";
    };
    doors.page.enable = mkEnableOption "the page at `/inbox/`, where people see what arrived from their clinics, and technicians upload";
    retention = {
      processedDays = mkOption {
        type = int;
        default = toInt defaults.PROCESSED_RETENTION_DAYS;
        example = 90;
        description = "Imported originals stay in processed/ for so many days.";
      };
      auditYears = mkOption {
        type = ints.between 1 100;
        default = toInt defaults.AUDIT_RETENTION_YEARS;
        example = 10;
        description = "Records of who looked at what stay for so many years.";
      };
      logsDays = mkOption {
        type = ints.positive;
        default = toInt defaults.LOGS_RETENTION_DAYS;
        example = 90;
        description = "What the services say is kept for so many days.";
      };
      studies = {
        years = mkOption {
          type = nullOr (ints.between 1 100);
          default = null;
          example = 10;
          description = "Studies go after so many years, and only when somebody says so (`dicom-stack retention`); null means that none ever does.";
        };
        clinics = mkOption {
          type = attrsOf (nullOr (ints.between 1 100));
          default = {};
          example = {
            clinic-a = 15;
            clinic-b = null;
          };
          description = "Clinics whose studies stay for longer or shorter, or for ever (null).";
        };
        minimumYears = mkOption {
          type = ints.between 0 100;
          default = toInt defaults.STUDY_RETENTION_MINIMUM_YEARS;
          example = 5;
          description = "Fewer years than these are refused; say here where your law asks for less, or for more.";
        };
        minorsAge = mkOption {
          type = ints.between 0 100;
          default = toInt defaults.STUDY_RETENTION_MINORS_AGE;
          example = 25;
          description = "Of who was not 18 yet, nothing goes before this birthday; 0 means that theirs goes as everybody's.";
        };
      };
    };
    language = mkOption {
      type = strMatching "[a-z]{2,3}(-[A-Za-z0-9]{2,8})*";
      default = defaults.LANGUAGE_TAG;
      example = "de";
      description = "Language that people of the clinics read, and alerts are sent in: en or de; with another one that Keycloak has, logins and the viewer speak it, and the rest is English.";
    };
    siteName = mkOption {
      type = strMatching "[^\"'&<>\\`$*{}]{1,60}";
      default = defaults.SITE_NAME;
      example = "Clinics of the North";
      description = "What people read above the login and in the viewer.";
    };
    alertEmail = mkOption {
      type = listOf str;
      default = [];
      example = ["it@example.org"];
      description = "Who is written to when something needs a person.";
    };
    alertTelegramChat = mkOption {
      type = nullOr int;
      default = null;
      example = -1001234567890;
      description = "Number of a Telegram chat that gets the alerts; the token of the bot that writes there is the secret `telegram_token`.";
    };
    mail = {
      host = mkOption {
        type = nullOr str;
        default = null;
        example = "mail.example.org";
        description = "Mail server for password resets and alerts, spoken to with STARTTLS.";
      };
      port = mkOption {
        type = port;
        default = toInt defaults.SMTP_PORT;
        example = 25;
        description = "Its port.";
      };
      from = mkOption {
        type = nullOr str;
        default = null;
        example = "pacs@example.org";
        description = "Sender of the mails.";
      };
      user = mkOption {
        type = nullOr str;
        default = null;
        example = "pacs";
        description = "Account at the mail server; its password is the secret `smtp_password`.";
      };
    };
    backup = {
      target = mkOption {
        type = nullOr (strMatching "/[^:[:space:]]+|(sftp|s3|rest|azure|b2|gs|swift|rclone):[^[:space:]]+");
        default = null;
        example = "sftp:backup@nas.example.org:stack";
        description = "Where everything is backed up to, as restic names a repository; a path is a folder of another disk. The secrets `backup_credentials` (lines NAME=VALUE) and `backup_ssh_key` open it; `backup_ca` is the certificate of an authority of the site that signed its server's.";
      };
      hostKey = mkOption {
        type = nullOr (strMatching "(ssh-|ecdsa-|sk-)[^[:space:]]+ [A-Za-z0-9+/]+=*( .*)?");
        default = null;
        example = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK2jcaGQpfpEu/MT3dquKTRoj10ysEcM5u2DVTb3UgEH";
        description = "The host key of a target by SFTP, as it stands there in /etc/ssh/ssh_host_ed25519_key.pub; a server that shows another is refused.";
      };
      intervalMinutes = mkOption {
        type = ints.positive;
        default = toInt defaults.BACKUP_INTERVAL_MIN;
        example = 30;
        description = "Minutes from one backup to the next.";
      };
      dumpIntervalMinutes = mkOption {
        type = ints.positive;
        default = toInt defaults.BACKUP_DUMP_INTERVAL_MIN;
        example = 120;
        description = "Minutes from one dump of the databases to the next.";
      };
      keep = {
        daily = mkOption {
          type = ints.positive;
          default = toInt defaults.BACKUP_KEEP_DAILY;
          example = 14;
          description = "The newest backup of so many days stays.";
        };
        weekly = mkOption {
          type = ints.positive;
          default = toInt defaults.BACKUP_KEEP_WEEKLY;
          example = 8;
          description = "The newest backup of so many weeks stays.";
        };
        monthly = mkOption {
          type = ints.positive;
          default = toInt defaults.BACKUP_KEEP_MONTHLY;
          example = 24;
          description = "The newest backup of so many months stays.";
        };
      };
      prune = mkOption {
        type = bool;
        default = defaults.BACKUP_PRUNE == "yes";
        example = false;
        description = "Whether old backups are removed from here; not where the target only lets add to it.";
      };
    };
    doors.dicom = {
      enable = mkEnableOption "the port at which modalities store over DICOM (C-STORE); `dicom-stack sender` says who may, and into which clinic";
      port = mkOption {
        type = port;
        default = 104;
        example = 11112;
        description = "Its port.";
      };
      address = mkOption {
        type = str;
        default = "0.0.0.0";
        example = "192.0.2.5";
        description = "The address of this host that it is bound to.";
      };
      interfaces = mkOption {
        type = nullOr (listOf str);
        default = null;
        example = ["enp3s0"];
        description = "Network interfaces whose firewall lets it in; null means those of `interfaces`, none all.";
      };
      aeTitle = mkOption {
        type = strMatching "[A-Za-z0-9_.+-]([A-Za-z0-9 _.+-]{0,14}[A-Za-z0-9_.+-])?";
        default = defaults.DICOM_AET;
        example = "PACS";
        description = "The AE title that devices call.";
      };
      tls = mkOption {
        type = bool;
        default = false;
        example = true;
        description = "Whether devices speak TLS there, with the certificate of `domain`; without, what they send is not encrypted on its way.";
      };
      clientAuthorityFile = mkOption {
        type = nullOr str;
        default = null;
        example = "/var/lib/pacs/modalities-ca.pem";
        description = "Certificate (PEM) of the authority that signed the devices' own, which they must then show.";
      };
    };
    doors.smb = {
      enable = mkEnableOption "uploads over a network share (SMB 3.1.1), a share a clinic, with the accounts of `dicom-stack account`";
      interfaces = mkOption {
        type = listOf (strMatching "[A-Za-z0-9_.@-]+");
        default = [];
        example = ["enp3s0"];
        description = "The network interfaces that shares are seen at, and whose firewall lets them in; they must be named.";
      };
      port = mkOption {
        type = port;
        default = 445;
        example = 4450;
        description = "The port that they come in by; Windows asks no other than 445.";
      };
    };
    doors.sftp = {
      enable = mkEnableOption "uploads by SFTP, with an account a clinic (`dicom-stack account --clinic clinic-c`)";
      port = mkOption {
        type = port;
        default = 2022;
        example = 22;
        description = "The port that they come in by, which is opened in the firewall as 80 and 443 are.";
      };
    };
    secretFiles = mkOption {
      type = attrsOf str;
      default = {};
      example = {smtp_password = "/run/secrets/smtp_password";};
      description = "Files that hold a secret's value, such as those of sops-nix; every other secret is made on first start.";
    };
  };

  config.assertions = concatLists [
    [
      {
        assertion = !cfg.enable || (cfg.acmeEmail != null) != (cfg.certificateFile != null && cfg.certificateKeyFile != null);
        message = "services.dicom-stack: set either acmeEmail, or both certificateFile and certificateKeyFile.";
      }
      {
        assertion = !inStore cfg.certificateKeyFile;
        message = "services.dicom-stack.certificateKeyFile lies in the Nix store, which everyone can read; name a file outside, as a string.";
      }
      {
        assertion = cfg.mail.host == null -> cfg.mail.user == null && cfg.alertEmail == [];
        message = "services.dicom-stack: alertEmail and mail.user need mail.host.";
      }
      {
        assertion = cfg.mail.host != null -> cfg.mail.from != null;
        message = "services.dicom-stack: mail.host needs mail.from, the sender's address.";
      }
      {
        assertion = cfg.mail.user != null -> cfg.secretFiles ? smtp_password;
        message = "services.dicom-stack: mail.user needs secretFiles.smtp_password, a file that holds its password.";
      }
      {
        assertion = all (years: years == null || years >= cfg.retention.studies.minimumYears) ([cfg.retention.studies.years] ++ attrValues cfg.retention.studies.clinics);
        message = "services.dicom-stack.retention.studies: studies would go before ${toString cfg.retention.studies.minimumYears} years are over; where your law asks for less, set minimumYears.";
      }
      {
        assertion = cfg.doors.dicom.clientAuthorityFile != null -> cfg.doors.dicom.tls;
        message = "services.dicom-stack.doors.dicom.clientAuthorityFile asks devices for a certificate, which only TLS does: set doors.dicom.tls.";
      }
      {
        assertion = cfg.alertTelegramChat != null -> cfg.secretFiles ? telegram_token;
        message = "services.dicom-stack: alertTelegramChat needs secretFiles.telegram_token, a file that holds the bot's token.";
      }
      {
        assertion = cfg.backup.target != null -> cfg.backup.target != cfg.dataDir && !hasPrefix "${cfg.dataDir}/" cfg.backup.target;
        message = "services.dicom-stack.backup.target lies within dataDir: what is lost with it is no backup; name another disk.";
      }
      {
        assertion = cfg.doors.smb.enable -> cfg.doors.smb.interfaces != [];
        message = "services.dicom-stack.doors.smb.enable needs doors.smb.interfaces, the network interfaces that shares are seen at.";
      }
      {
        assertion = cfg.backup.target != null && hasPrefix "sftp:" cfg.backup.target -> cfg.backup.hostKey != null;
        message = "services.dicom-stack.backup.target is reached by SFTP: set backup.hostKey to the line that the server has in /etc/ssh/ssh_host_ed25519_key.pub.";
      }
      {
        assertion = cfg.backup.target != null -> builtins.match ".*//[^/@]*:[^/@]+@.*" cfg.backup.target == null;
        message = "services.dicom-stack.backup.target holds a password: put it into the secret backup_credentials (RESTIC_REST_USERNAME=… and RESTIC_REST_PASSWORD=…, a line each).";
      }
    ]
    (mapAttrsToList (name: path: {
        assertion = !inStore path;
        message = "services.dicom-stack.secretFiles.${name} lies in the Nix store, which everyone can read; name a file outside, as a string.";
      })
      cfg.secretFiles)
  ];
}
