# What `.ci/run` covers, as far as a build sandbox can: format, lints, the tests
# of cargo (in the package itself), the unit, the examples, and machines that
# boot.
{ self, pkgs }:
let
  inherit (pkgs) lib;
  inherit (pkgs.stdenv.hostPlatform) system;
  package = self.packages.${system}.default;

  # The same sources and dependencies, another question.
  cargo =
    name: inputs: command:
    package.overrideAttrs (old: {
      pname = "reveille-${name}";
      nativeBuildInputs = (old.nativeBuildInputs or [ ]) ++ inputs;
      buildPhase = command;
      doCheck = false;
      installPhase = "touch $out";
      postInstall = "";
    });

  host = self.inputs.nixpkgs.lib.nixosSystem {
    inherit system;
    modules = [
      self.nixosModules.default
      {
        services.reveille = {
          enable = true;
          openFirewall = true;
          resources.subnets.lab.spec = {
            mode = "Server";
            cidr = "192.0.2.0/24";
            interface = "eth1";
          };
        };
        # Enough of a system to evaluate.
        boot.loader.grub.enable = false;
        fileSystems."/".device = "none";
        fileSystems."/".fsType = "tmpfs";
        system.stateVersion = "26.05";
      }
    ];
  };
in
{
  inherit package;
  inherit (self.packages.${system}) ipxe docs;

  clippy = cargo "clippy" [ pkgs.clippy ] "cargo clippy --offline --all-targets -- -D warnings";
  rustfmt = cargo "rustfmt" [ pkgs.rustfmt ] "cargo fmt --check";

  nix-format =
    pkgs.runCommand "nix-format"
      {
        nativeBuildInputs = [
          pkgs.nixfmt
          pkgs.deadnix
        ];
      }
      ''
        cd ${self}
        nixfmt --check flake.nix nix/*.nix nix/tests/*.nix
        deadnix --fail flake.nix nix
        touch $out
      '';

  examples = pkgs.runCommand "examples" { } ''
    ${lib.getExe package} check --warnings-as-errors ${../examples/first-light}
    touch $out
  '';

  unit = pkgs.runCommand "unit" { nativeBuildInputs = [ pkgs.systemd ]; } ''
    cp ${
      pkgs.writeText "reveille.service" host.config.systemd.units."reveille.service".text
    } reveille.service
    systemd-analyze verify ./reveille.service
    systemd-analyze security --offline=true --threshold=20 ./reveille.service
    touch $out
  '';
}
// lib.optionalAttrs (system == "x86_64-linux") {
  boots = import ./tests/boots.nix { inherit self pkgs; };
}
