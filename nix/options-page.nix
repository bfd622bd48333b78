# The page of the module's options, docs/install/nixos-options.md.
{ lib }:
let
  module = import ./module.nix { packages = { }; };
  evaluated = lib.evalModules {
    modules = [
      {
        imports = [ module ];
        # What the module sets of NixOS is of no interest here.
        _module.check = false;
        _module.args = {
          pkgs.stdenv.hostPlatform.system = "x86_64-linux";
          utils = { };
        };
      }
    ];
  };

  # Prose stands as it is, values as code.
  shown =
    value:
    if value._type or "" == "literalMD" then
      value.text
    else
      "`${value.text or (builtins.toJSON value)}`";
  oneLine = lib.replaceStrings [ "\n" "|" ] [ " " "\\|" ];

  row =
    path: option:
    let
      default = shown (option.defaultText or option.default);
    in
    "| `${path}` | ${oneLine option.type.description} | ${oneLine (lib.removeSuffix "\n" option.description)} | ${default} |\n";

  rows =
    path: options:
    lib.concatStrings (
      lib.mapAttrsToList (
        name: option:
        let
          at = if path == "" then name else "${path}.${name}";
        in
        if option._type or "" == "option" then row at option else rows at option
      ) options
    );
in
''
  # The options of the NixOS module

  <!-- Made by `make docs`; do not edit. -->

  All below `services.reveille`. What stands in `settings` and `cluster` are the flags of `reveille
  serve` and `reveille operator`; `null` leaves the program its own default. The fields of
  `resources.*.NAME.spec` are those of [the resources](../api.md), with the same names; beside `spec`
  there are `namespace`, `labels` and `annotations`.

  | option | type | | default |
  |---|---|---|---|
''
+ rows "" evaluated.options.services.reveille
