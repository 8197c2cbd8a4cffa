# The flake's checks that need whole machines: an appliance and a client, driven by the one acceptance suite.
{
  pkgs,
  module,
}: let
  appliance = import ./appliance.nix module;
  test = file: pkgs.testers.runNixOSTest (import file {inherit appliance pkgs;});
in {
  acceptance = test ./acceptance.nix;
  power-loss = test ./power-loss.nix;
}
