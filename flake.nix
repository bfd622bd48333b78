{
  description = "Reveille wakes bare metal: network boot for a cluster or a folder of manifests";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      eachSystem = f: lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
    in
    {
      overlays.default = import ./nix/overlay.nix;

      packages = eachSystem (
        pkgs:
        let
          all = import ./nix/overlay.nix pkgs { };
        in
        {
          default = all.reveille;
          inherit (all) reveille;
          ipxe = all.reveille-ipxe;
          container = all.reveille-container;
          docs = all.reveille-docs;
        }
      );

      nixosModules = {
        reveille = import ./nix/module.nix self;
        default = self.nixosModules.reveille;
      };

      lib = import ./nix/lib.nix { inherit lib; };

      checks = eachSystem (pkgs: import ./nix/checks.nix { inherit self pkgs; });

      devShells = eachSystem (pkgs: {
        default = import ./nix/shell.nix { inherit self pkgs; };
      });

      formatter = eachSystem (pkgs: pkgs.nixfmt-tree);
    };
}
