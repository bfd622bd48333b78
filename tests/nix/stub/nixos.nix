# lib with nixosSystem: the options of NixOS that are used here, with its types,
# and its way to write units.
_:
let
  lib = import ./lib.nix;
  inherit (lib) mkOption types;

  list = mkOption {
    type = types.listOf types.str;
    default = [ ];
  };
  any = mkOption {
    type = types.attrsOf types.anything;
    default = { };
  };
  off = mkOption {
    type = types.bool;
    default = false;
  };

  atom = types.oneOf [
    types.str
    types.int
    types.bool
    types.path
  ];
  unitOptions = mkOption {
    type = types.attrsOf (types.either atom (types.listOf atom));
    default = { };
  };

  service = types.submodule (
    { config, ... }:
    {
      options = {
        description = mkOption {
          type = types.singleLineStr;
          default = "";
        };
        documentation = list;
        after = list;
        wants = list;
        wantedBy = list;
        serviceConfig = unitOptions;
        unitConfig = unitOptions;
      };
      config.unitConfig = lib.filterAttrs (_: value: value != "") {
        Description = config.description;
        Documentation = toString config.documentation;
        After = toString config.after;
        Wants = toString config.wants;
      };
    }
  );

  written =
    value:
    if value == true then
      "true"
    else if value == false then
      "false"
    else
      toString value;
  section =
    settings:
    lib.concatStrings (
      lib.concatLists (
        lib.mapAttrsToList (name: value: map (one: "${name}=${written one}\n") (lib.toList value)) settings
      )
    );
  text = one: ''
    [Unit]
    ${section one.unitConfig}
    [Service]
    ${section one.serviceConfig}
    [Install]
    WantedBy=${toString one.wantedBy}
  '';

  ports = mkOption {
    type = types.listOf types.port;
    default = [ ];
    apply = all: lib.unique (lib.sort lib.lessThan all);
  };

  base =
    { config, pkgs, ... }:
    {
      options = {
        assertions = mkOption {
          type = types.listOf types.unspecified;
          default = [ ];
        };
        warnings = list;
        boot.kernelParams = list;
        boot.loader.grub.enable = off;
        environment.etc = mkOption {
          type = types.attrsOf (types.submodule { options.source = mkOption { type = types.path; }; });
          default = { };
        };
        environment.systemPackages = mkOption {
          type = types.listOf types.package;
          default = [ ];
        };
        fileSystems = any;
        networking.firewall.interfaces = mkOption {
          type = types.attrsOf (
            types.submodule {
              options.allowedTCPPorts = ports;
              options.allowedUDPPorts = ports;
            }
          );
          default = { };
        };
        services.kea.dhcp4.enable = off;
        services.k3s = any;
        system.build = mkOption {
          type = types.lazyAttrsOf types.unspecified;
          default = { };
        };
        system.boot.loader.kernelFile = mkOption {
          type = types.str;
          default = "bzImage";
        };
        system.stateVersion = mkOption { type = types.str; };
        systemd.services = mkOption {
          type = types.attrsOf service;
          default = { };
        };
        systemd.tmpfiles.rules = list;
        systemd.units = any;
        users.groups = any;
        users.users = any;
        virtualisation = any;
      };
      config.system.stateVersion = lib.mkDefault "26.05";
      config.system.build = { inherit (pkgs) kernel toplevel; };
      config.systemd.units = lib.mapAttrs' (
        name: one: lib.nameValuePair "${name}.service" { text = text one; }
      ) config.systemd.services;
    };

  nixosSystem =
    {
      system,
      modules,
    }:
    let
      pkgs = import ./pkgs.nix {
        inherit system;
        lib = whole;
      };
    in
    lib.evalModules {
      specialArgs = {
        modulesPath = toString ./modules;
        utils.escapeSystemdExecArgs = lib.concatMapStringsSep " " (
          one: lib.replaceStrings [ "%" "$" ] [ "%%" "$$" ] (builtins.toJSON one)
        );
      };
      modules = modules ++ [
        base
        { _module.args = { inherit pkgs; }; }
      ];
    }
    // {
      inherit pkgs;
    };

  whole = lib // {
    inherit nixosSystem;
  };
in
whole
