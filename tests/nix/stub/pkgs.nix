# Packages that are only names. What takes arguments refuses those it does not
# know, as the real one would.
{ system, lib }:
let
  package =
    name: fields:
    derivation {
      inherit name system;
      builder = "/bin/sh";
      args = [
        "-c"
        "echo > $out"
      ];
      # So that whatever a build would run is evaluated.
      text = fields.text or "";
    }
    // {
      pname = name;
      version = "0";
      type = "derivation";
      override = _: package name fields;
      overrideAttrs =
        change: package name (fields // (if lib.isFunction change then change fields else change));
    }
    // fields
    // {
      meta = {
        mainProgram = name;
      }
      // fields.meta or { };
    };

  strict =
    what: required: known: arguments:
    let
      unknown = lib.subtractLists (required ++ known) (lib.attrNames arguments);
      missing = lib.filter (one: !arguments ? ${one}) required;
    in
    assert lib.assertMsg (unknown == [ ]) "${what}: unexpected arguments ${toString unknown}";
    assert lib.assertMsg (missing == [ ]) "${what}: missing arguments ${toString missing}";
    package (arguments.pname or arguments.name or what) arguments;

  named = lib.genAttrs [
    "cargo-cyclonedx"
    "clippy"
    "curl"
    "deadnix"
    "installShellFiles"
    "kernel"
    "kubectl"
    "kubernetes-helm"
    "netbootRamdisk"
    "nixfmt"
    "nixfmt-tree"
    "prometheus"
    "qemu"
    "qemu_test"
    "rust-analyzer"
    "rustfmt"
    "systemd"
    "toplevel"
  ] (name: package name { });

  ipxe = package "ipxe" { } // {
    override =
      strict "ipxe.override"
        [ ]
        [
          "additionalOptions"
          "additionalTargets"
          "embedScript"
          "firmwareBinary"
        ];
  };

  testers.runNixOSTest =
    test:
    let
      node =
        module:
        (lib.nixosSystem {
          inherit system;
          modules = [ module ];
        }).config;
      nodes = lib.mapAttrs (_: node) test.nodes;
      failed = lib.concatLists (
        lib.mapAttrsToList (
          name: config:
          map (one: "${name}: ${one.message}") (lib.filter (one: !one.assertion) config.assertions)
        ) nodes
      );
      units = lib.mapAttrsToList (
        _: config: lib.mapAttrsToList (_: unit: unit.text) config.systemd.units
      ) nodes;
    in
    assert lib.assertMsg (failed == [ ]) (toString failed);
    package "vm-test-${test.name}" {
      inherit (test) testScript;
      inherit nodes;
      text = toString units + test.testScript;
    };

  pkgs = named // rec {
    inherit
      ipxe
      lib
      system
      testers
      ;
    stdenv = rec {
      hostPlatform = {
        inherit system;
        isx86_64 = system == "x86_64-linux";
        isAarch64 = system == "aarch64-linux";
      };
      buildPlatform = hostPlatform // {
        canExecute = other: other.system == system;
      };
    };
    pkgsCross.aarch64-multiplatform = { inherit ipxe; };
    pkgsCross.gnu64 = { inherit ipxe; };
    buildPackages = pkgs;
    callPackage =
      f: arguments:
      let
        function = if lib.isFunction f then f else import f;
      in
      function (lib.intersectAttrs (lib.functionArgs function) (pkgs // arguments) // arguments);
    rustPlatform.buildRustPackage =
      strict "buildRustPackage"
        [
          "cargoLock"
          "meta"
          "pname"
          "src"
          "version"
        ]
        [
          "buildInputs"
          "nativeBuildInputs"
          "nativeCheckInputs"
          "postInstall"
        ];
    writeText = name: text: package name { inherit text; };
    runCommand =
      name: environment: text:
      package name (environment // { inherit text; });
    mkShell =
      strict "mkShell"
        [ ]
        [
          "inputsFrom"
          "packages"
          "shellHook"
        ];
    dockerTools = {
      caCertificates = package "ca-certificates" { };
      streamLayeredImage =
        strict "streamLayeredImage"
          [ "name" ]
          [
            "config"
            "contents"
            "created"
            "tag"
          ];
    };
    OVMF.override =
      arguments:
      strict "OVMF.override" [ ] [ "httpSupport" "secureBoot" "tlsSupport" ] arguments
      // {
        firmware = package "OVMF_CODE.fd" { };
        variables = package "OVMF_VARS.fd" { };
      };
  };
in
pkgs
