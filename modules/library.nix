# Pure helpers that need no nixpkgs, so that tests can evaluate them alone.
let
  inherit (builtins) attrNames concatMap concatStringsSep elemAt filter fromJSON isList isString listToAttrs map match pathExists readFile split;

  lines = text: filter isString (split "\n" text);
  constant = name: value: ''
    map "" ''$${name} {
        default "${value}";
    }
  '';
  # An alert's text with its {names} filled by Alertmanager: its labels, its value, its times.
  filled = text: time: let
    places = {
      end = ".EndsAt.Local.Format \"${time}\"";
      runbook = ".Annotations.runbook";
      start = ".StartsAt.Local.Format \"${time}\"";
      value = ".Annotations.value";
    };
    field = name: "{{ ${places.${name} or ".Labels.${name}"} }}";
  in
    concatStringsSep "" (map (part:
      if isList part
      then field (elemAt part 0)
      else part) (split "[{]([A-Za-z0-9_]+)[}]" text));
in rec {
  # What people read in a language; one that has no file reads English.
  readLanguage = tag: let
    file = name: ../importer/src/dicom_importer/languages + "/${name}.json";
  in
    fromJSON (readFile (
      if pathExists (file tag)
      then file tag
      else file "en"
    ));

  # Alertmanager's templates of the language. podman/stack/words.py writes the same.
  wordsTmpl = tag: let
    inherit (readLanguage tag) alerts mail;
    ofAlerts = kind:
      concatStringsSep "" (map (name: "{{ if eq .Labels.alertname \"${name}\" }}${filled alerts.${name}.${kind} ""}{{ else }}") (attrNames alerts))
      + "{{ .Annotations.${kind} }}"
      + concatStringsSep "" (map (_: "{{ end }}") (attrNames alerts));
    resolved = over: now: "{{ if eq .Status \"resolved\" }}${over}${now}{{ end }}";
    define = name: text: "{{ define \"stack.${name}\" }}${text}{{ end }}\n";
  in
    define "over" (resolved mail.over "")
    + define "summary" (ofAlerts "summary")
    + define "description" (ofAlerts "description")
    + define "more" (filled mail.more mail.time)
    + define "since" (resolved (filled mail.until mail.time) "{{ else }}${filled mail.since mail.time}");

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
    languageTag,
    publicAuthority,
    publicUrl,
    siteName,
    strictTransport,
    trustedProxies,
  }: let
    inherit (readLanguage languageTag) front language;
  in
    "# What differs from site to site; written from the settings.\n"
    + constant "public_url" publicUrl
    + constant "public_authority" publicAuthority
    + constant "strict_transport_security" strictTransport
    + "geo $admin_network {\n    default 0;\n"
    + concatStringsSep "" (map (network: "    ${network} 1;\n") adminNetworks)
    + "}\n"
    + concatStringsSep "" (map (network: "set_real_ip_from ${network};\n") trustedProxies)
    + constant "certificate" certificate
    + constant "certificate_key" certificateKey
    + constant "language" language
    + constant "language_tag" languageTag
    + constant "site_name" siteName
    + concatStringsSep "" (map (name: constant "words_${name}" front.${name}) (attrNames front));
}
