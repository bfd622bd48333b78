# Reads a systemd unit file into an attribute set of its sections, so that the
# NixOS module is hardened by the lines of dist/systemd/reveille.service.
{ lib }:
text:
let
  lines = lib.filter (line: line != "" && !lib.hasPrefix "#" line) (lib.splitString "\n" text);

  step =
    state: line:
    let
      section = builtins.match "\\[(.*)]" line;
      setting = builtins.match "([A-Za-z]+)=(.*)" line;
      key = lib.head setting;
      value = lib.last setting;
      before = state.sections.${state.at}.${key} or [ ];
    in
    if section != null then
      {
        at = lib.head section;
        sections = state.sections // {
          ${lib.head section} = { };
        };
      }
    else
      assert lib.assertMsg (setting != null) "no line of a unit file: ${line}";
      state
      // {
        sections = state.sections // {
          ${state.at} = state.sections.${state.at} // {
            ${key} = before ++ [ value ];
          };
        };
      };

  read = lib.foldl' step {
    at = "";
    sections = { };
  } lines;
in
# What is said once is a value, what is said again is a list.
lib.mapAttrs (
  _: lib.mapAttrs (_: values: if lib.length values == 1 then lib.head values else values)
) read.sections
