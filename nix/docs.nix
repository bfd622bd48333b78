# The documentation as a folder, with the options of the NixOS module and the
# manual pages.
{
  lib,
  runCommand,
  writeText,
  reveille,
}:
runCommand "reveille-docs" { } ''
  mkdir -p $out/share/doc
  cp -r ${../docs} $out/share/doc/reveille
  chmod -R u+w $out/share/doc/reveille
  cp ${writeText "nixos-options.md" (import ./options-page.nix { inherit lib; })} \
    $out/share/doc/reveille/install/nixos-options.md
  cp ${../README.md} ${../CHANGELOG.md} $out/share/doc/reveille/
  ln -s ${reveille}/share/man $out/share/man
''
