# Reads a file of KEY=VALUE lines, such as podman/versions.env, into an attribute set.
{lib}: file: let
  inherit (lib) elemAt filter nameValuePair splitString;
  matches = map (builtins.match "([A-Z0-9_]+)=(.*)") (splitString "\n" (builtins.readFile file));
in
  builtins.listToAttrs (map (match: nameValuePair (elemAt match 0) (elemAt match 1)) (filter (match: match != null) matches))
