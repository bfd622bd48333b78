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

  # All but what neither cargo nor its tests read.
  src = fs.toSource {
    root = ../.;
    fileset = fs.difference ../. (
      fs.unions [
        (fs.fileFilter (file: file.hasExt "nix") ../.)
        (fs.maybeMissing ../target)
        ../.ci
        ../.github
        ../Makefile
        ../flake.lock
      ]
    );
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
