# Orthanc, the archive, over podman/orthanc/: PostgreSQL for the index, files for the images, the clinic access plugin inside.
{
  config,
  lib,
  pkgs,
  ...
}: let
  inherit (lib) mkForce mkIf;
  cfg = config.services.dicom-stack;
  names = lib.importJSON ./names.json;
  shipped = lib.importJSON ../podman/orthanc/orthanc.json;
in {
  config = mkIf cfg.enable {
    services.orthanc = {
      enable = true;
      settings = shipped // {Plugins = map (path: "${pkgs.orthanc-plugins}/${baseNameOf path}") shipped.Plugins;};
      environment = {
        BIND_ADDRESS = names.orthanc;
        PUBLIC_AUTHORITY = cfg.domain;
        PUBLIC_URL = "https://${cfg.domain}";
        PYTHONPATH = "${pkgs.orthanc-python-env}/${pkgs.orthanc-python-env.sitePackages}";
      };
    };
    environment.etc = {
      "orthanc/clinic_access_plugin.py".source = ../podman/orthanc/clinic_access_plugin.py;
      "orthanc-lib/clinic_access".source = ../importer/src/clinic_access;
    };
    users.users.orthanc = {
      uid = 7104;
      group = "orthanc";
      isSystemUser = true;
    };
    users.groups.orthanc.gid = 7104;
    systemd.tmpfiles.settings.dicom-stack = {
      "${cfg.dataDir}/dicom".d = {
        mode = "0700";
        user = "orthanc";
        group = "orthanc";
      };
      "/dicom"."L+".argument = "${cfg.dataDir}/dicom";
    };

    services.dicom-stack = {
      hardenedUnits = ["orthanc"];
      secretReaders.orthanc = {
        user = "orthanc";
        units = ["orthanc"];
        files = ["orthanc_pgpass"];
      };
    };
    systemd.services.orthanc = {
      after = ["postgresql-roles.service"];
      wants = ["postgresql-roles.service"];
      restartTriggers = [../podman/orthanc/clinic_access_plugin.py ../importer/src/clinic_access];
      unitConfig.RequiresMountsFor = "${cfg.dataDir}/dicom";
      serviceConfig = {
        # The archive's files keep their owner from one start to the next, and from one form to the other.
        DynamicUser = mkForce false;
        User = "orthanc";
        Group = "orthanc";
        ReadWritePaths = ["${cfg.dataDir}/dicom"];
        Restart = "always";
      };
    };
  };
}
