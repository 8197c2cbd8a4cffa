{
  description = "DICOM Web Viewer Stack: an appliance for groups of small clinics";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs = {
    self,
    nixpkgs,
  }: let
    system = "x86_64-linux";
    pkgs = import nixpkgs {
      inherit system;
      overlays = [self.overlays.default];
    };
    tests = import ./nixos-tests {
      inherit pkgs;
      module = ./modules;
    };
  in {
    overlays.default = import ./modules/packages;

    nixosModules.default = {
      imports = [./modules];
      nixpkgs.overlays = [self.overlays.default];
    };

    nixosConfigurations.example = nixpkgs.lib.nixosSystem {
      modules = [
        self.nixosModules.default
        ./nixos-tests/example.nix
        ./nixos-tests/machine.nix
        {nixpkgs.hostPlatform = system;}
      ];
    };

    packages.${system} = {
      inherit
        (pkgs)
        dicom-importer
        keycloak
        ohif-viewer
        orthanc
        orthanc-plugin-dicomweb
        orthanc-plugin-gdcm
        orthanc-plugin-postgresql
        orthanc-plugin-python
        ;
    };

    checks.${system} = tests;

    formatter.${system} = pkgs.alejandra;

    devShells.${system}.default = pkgs.mkShellNoCC {
      packages = [pkgs.alejandra pkgs.deadnix pkgs.git pkgs.gnumake pkgs.python3];
    };
  };
}
