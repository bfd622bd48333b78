# iPXE for every architecture that nixpkgs can build it for, with Reveille's
# first script built in. Its revision is that of the locked nixpkgs.
{
  lib,
  stdenv,
  runCommand,
  ipxe,
  pkgsCross,
  # A CA certificate (PEM) whose servers it trusts, and no others.
  ca ? null,
  # More of iPXE's config/general.h.
  options ? [ ],
}:
let
  on =
    platform: targets:
    (platform.override {
      embedScript = ../src/script/first.ipxe;
      additionalTargets = lib.genAttrs (lib.attrNames targets) (_: null);
      additionalOptions = [
        "CONSOLE_CMD"
        "NSLOOKUP_CMD"
        "NTP_CMD"
        "POWEROFF_CMD"
        "REBOOT_CMD"
        "VLAN_CMD"
      ]
      ++ options;
    }).overrideAttrs
      (old: {
        makeFlags =
          (old.makeFlags or [ ])
          ++ lib.optionals (ca != null) [
            "CERT=${ca}"
            "TRUST=${ca}"
          ];
        # Targets of two folders have one file name: each is kept by its own.
        postInstall =
          (old.postInstall or "")
          + lib.concatStrings (
            lib.mapAttrsToList (target: name: ''
              mkdir -p $out/reveille
              cp ${target} $out/reveille/${name}
            '') targets
          );
      });

  x86 = {
    # The 32-bit bin/ sends negative ranges above 2 GiB; pcbios is 64-bit.
    "bin-x86_64-pcbios/undionly.kpxe" = "undionly.kpxe";
    "bin-i386-efi/ipxe.efi" = "ipxe-i386.efi";
    "bin-x86_64-efi/ipxe.efi" = "ipxe.efi";
    "bin-x86_64-efi/snponly.efi" = "snponly.efi";
  };
  arm64 = {
    "bin-arm64-efi/ipxe.efi" = "ipxe-arm64.efi";
    "bin-arm64-efi/snponly.efi" = "snponly-arm64.efi";
  };

  here = stdenv.hostPlatform;
  x86Ipxe = if here.isx86_64 then ipxe else pkgsCross.gnu64.ipxe;
  arm64Ipxe = if here.isAarch64 then ipxe else pkgsCross.aarch64-multiplatform.ipxe;
in
# The names that Reveille looks for in `--loaders`.
runCommand "reveille-ipxe" { } ''
  mkdir $out
  cp ${on x86Ipxe x86}/reveille/* $out/
  cp ${on arm64Ipxe arm64}/reveille/* $out/
''
