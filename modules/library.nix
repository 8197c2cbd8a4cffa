# Pure helpers that need no nixpkgs, so that tests can evaluate them alone.
let
  inherit (builtins) concatMap concatStringsSep elemAt filter isString listToAttrs map match readFile split;

  lines = text: filter isString (split "\n" text);
  constant = name: value: ''
    map "" ''$${name} {
        default "${value}";
    }
  '';
in {
  # Attributes of a file of KEY=VALUE lines, as Keycloak, PostgreSQL, the importer and our .env files have them.
  readSettings = path:
    listToAttrs (concatMap (line: let
      found = match "([A-Za-z0-9_-]+) *= *(.*)" line;
      value = elemAt found 1;
      quoted = match "'(.*)'" value;
    in
      if found == null
      then []
      else [
        {
          name = elemAt found 0;
          value =
            if quoted == null
            then value
            else elemAt quoted 0;
        }
      ]) (lines (readFile path)));

  # nginx's site.conf: the few lines that differ from site to site. podman/stack/site.py writes the same.
  siteConf = {
    adminNetworks,
    certificate,
    certificateKey,
    publicAuthority,
    publicUrl,
    strictTransport,
    trustedProxies,
  }:
    "# What differs from site to site; written from the settings.\n"
    + constant "public_url" publicUrl
    + constant "public_authority" publicAuthority
    + constant "strict_transport_security" strictTransport
    + "geo $admin_network {\n    default 0;\n"
    + concatStringsSep "" (map (network: "    ${network} 1;\n") adminNetworks)
    + "}\n"
    + concatStringsSep "" (map (network: "set_real_ip_from ${network};\n") trustedProxies)
    + constant "certificate" certificate
    + constant "certificate_key" certificateKey;
}
