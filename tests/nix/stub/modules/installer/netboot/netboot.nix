# Declares what nixpkgs' module of this name does, as far as it is used here.
{ lib, pkgs, ... }:
{
  options.netboot.squashfsCompression = lib.mkOption {
    type = lib.types.str;
    default = "zstd";
  };
  config.system.build.netbootRamdisk = pkgs.netbootRamdisk;
}
