# The restrictions that every unit of the stack starts from; a unit that cannot bear one says why beside its exception.
{
  config,
  lib,
  ...
}: let
  inherit (lib) genAttrs mkDefault mkOption;
  cfg = config.services.dicom-stack;
in {
  options.services.dicom-stack.hardenedUnits = mkOption {
    type = lib.types.listOf lib.types.str;
    internal = true;
    default = [];
    description = "Names of the services that get the restrictions.";
  };

  config.systemd.services = lib.mkIf cfg.enable (genAttrs cfg.hardenedUnits (_: {
    serviceConfig = lib.mapAttrs (_: mkDefault) {
      CapabilityBoundingSet = "";
      DevicePolicy = "closed";
      # Everything is spoken to on this machine's loopback; who must reach out says so.
      IPAddressAllow = "localhost";
      IPAddressDeny = "any";
      KeyringMode = "private";
      LockPersonality = true;
      MemoryDenyWriteExecute = true;
      NoNewPrivileges = true;
      PrivateDevices = true;
      PrivateMounts = true;
      PrivateTmp = true;
      PrivateUsers = true;
      ProcSubset = "pid";
      ProtectClock = true;
      ProtectControlGroups = true;
      ProtectHome = true;
      ProtectHostname = true;
      ProtectKernelLogs = true;
      ProtectKernelModules = true;
      ProtectKernelTunables = true;
      ProtectProc = "invisible";
      ProtectSystem = "strict";
      RemoveIPC = true;
      Restart = "on-failure";
      RestartSec = "5s";
      RestrictAddressFamilies = ["AF_INET" "AF_INET6" "AF_UNIX"];
      RestrictNamespaces = true;
      RestrictRealtime = true;
      RestrictSUIDSGID = true;
      SystemCallArchitectures = "native";
      # Refused, not killed: sed and the like try to keep a file's owner and go on without.
      SystemCallErrorNumber = "EPERM";
      SystemCallFilter = ["@system-service" "~@privileged @resources"];
      UMask = "0077";
    };
  }));
}
