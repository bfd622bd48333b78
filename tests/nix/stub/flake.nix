{
  description = "Stands in for nixpkgs where there is no network; see lib.nix";
  outputs = _: {
    lib = import ./nixos.nix { };
    legacyPackages =
      let
        lib = import ./nixos.nix { };
      in
      lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (system: import ./pkgs.nix { inherit system lib; });
  };
}
