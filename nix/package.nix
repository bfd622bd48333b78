{
  lib,
  stdenv,
  rustPlatform,
  installShellFiles,
  buildPackages,
}:
let
  manifest = lib.importTOML ../Cargo.toml;
  fs = lib.fileset;
in
rustPlatform.buildRustPackage {
  pname = manifest.package.name;
  inherit (manifest.package) version;

  # What cargo reads, and what its tests do; nothing else makes it build anew.
  src = fs.toSource {
    root = ../.;
    fileset = fs.unions [
      ../.clippy.toml
      ../.rustfmt.toml
      ../Cargo.toml
      ../Cargo.lock
      ../README.md
      ../benches
      ../crds
      ../dist
      ../docs
      ../examples
      ../nix
      ../src
      ../tests
    ];
  };

  cargoLock.lockFile = ../Cargo.lock;

  nativeBuildInputs = [ installShellFiles ];

  # From the program itself, or from one of the same version that runs here.
  postInstall =
    let
      runs = stdenv.buildPlatform.canExecute stdenv.hostPlatform;
      program =
        if runs then "$out/bin/reveille" else lib.getExe (buildPackages.callPackage ./package.nix { });
    in
    ''
      ${program} man man1
      installManPage man1/*
      for shell in bash zsh fish; do
        ${program} completions $shell > reveille.$shell
      done
      installShellCompletion reveille.{bash,zsh,fish}
    '';

  meta = {
    inherit (manifest.package) description;
    license = lib.licenses.asl20;
    mainProgram = "reveille";
    platforms = lib.platforms.linux;
  };
}
