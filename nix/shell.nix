{ self, pkgs }:
pkgs.mkShell {
  inputsFrom = [ self.packages.${pkgs.stdenv.hostPlatform.system}.default ];
  packages = [
    pkgs.cargo-cyclonedx
    pkgs.clippy
    pkgs.deadnix
    pkgs.kubectl
    pkgs.kubernetes-helm
    pkgs.nixfmt
    pkgs.prometheus
    pkgs.qemu
    pkgs.rust-analyzer
    pkgs.rustfmt
  ];
}
