# The NixOS module. `self` is the flake: the packages come from there.
self:
{
  config,
  lib,
  pkgs,
  utils,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.reveille;

  own = import ./types.nix { inherit lib; };
  schemas = lib.importJSON ./schemas.json;
  known = lib.importJSON ./settings.json;
  unit = import ./unit.nix { inherit lib; } (builtins.readFile ../dist/systemd/reveille.service);

  # systemd makes the user, and `credentials` hand the kubeconfig over.
  settingFlags = removeAttrs known.serve [ "user" ];
  clusterFlags = removeAttrs known.operator (
    lib.attrNames known.serve
    ++ [
      "kubeconfig"
      "manifests"
    ]
  );

  inherit (pkgs.stdenv.hostPlatform) system;
  credentialsFolder = "/run/credentials/reveille.service";
  manifestsFolder = "reveille/boot";

  # === resources ===

  metadata = {
    namespace = mkOption {
      type = types.nullOr types.nonEmptyStr;
      default = null;
      description = ''
        Its namespace; references never leave it. `null`: `default`, and beside a cluster the
        operator's own.
      '';
    };
    labels = mkOption {
      type = types.attrsOf types.str;
      default = { };
      example = {
        role = "worker";
      };
      description = "Its labels, which profiles select machines by.";
    };
    annotations = mkOption {
      type = types.attrsOf types.str;
      default = { };
      description = "Its annotations.";
    };
  };

  resources = lib.mapAttrs (
    _: schema:
    mkOption {
      type = types.attrsOf (
        types.submodule {
          options = metadata // {
            spec = mkOption {
              type = own.resource schema.spec;
              default = { };
              description = "What is wanted: the fields of ${schema.kind}.spec, with their names.";
            };
          };
        }
      );
      default = { };
      description = "${schema.kind}s by name.";
    }
  ) schemas;

  manifest = schema: name: object: {
    inherit (schema) apiVersion kind;
    metadata = {
      inherit name;
    }
    // lib.filterAttrs (_: said: said != null && said != { }) {
      inherit (object) namespace labels annotations;
    };
    spec = own.prune object.spec;
  };

  manifests = lib.listToAttrs (
    lib.concatLists (
      lib.mapAttrsToList (
        plural: objects:
        lib.mapAttrsToList (name: object: {
          name = lib.concatStringsSep "-" (
            [ plural ] ++ lib.optional (object.namespace != null) object.namespace ++ [ "${name}.json" ]
          );
          value = manifest schemas.${plural} name object;
        }) objects
      ) cfg.resources
    )
  );

  # Files of the store are checked with the rest, those of the host at start.
  inStore = path: lib.isPath path || lib.hasPrefix builtins.storeDir (toString path);
  storeManifests = lib.filter inStore cfg.manifests;
  hostManifests = lib.filter (path: !inStore path) cfg.manifests;

  # What is served: one folder, refused by the program that will serve it.
  checked = pkgs.runCommand "reveille-manifests" { preferLocalBuild = true; } (
    ''
      mkdir $out
    ''
    + lib.concatStrings (
      lib.mapAttrsToList (name: object: ''
        cp ${pkgs.writeText name (builtins.toJSON object)} $out/${name}
      '') cfg.finalManifests
    )
    + lib.concatStrings (
      lib.imap0 (number: path: ''
        cp -rL ${path} $out/${toString number}-${baseNameOf path}
      '') storeManifests
    )
    + lib.optionalString (pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform) ''
      ${lib.getExe cfg.package} check $out
    ''
  );

  ownManifests = lib.optional (
    cfg.finalManifests != { } || storeManifests != [ ]
  ) "/etc/${manifestsFolder}";
  allManifests = ownManifests ++ hostManifests;

  # === network ===

  subnets = lib.attrValues cfg.resources.subnets;
  served = lib.filter (subnet: subnet.spec.mode != "Disabled") subnets;
  # A Subnet may name its interface by MAC address; a firewall cannot.
  named = lib.filter (name: name != null && !lib.hasInfix ":" name) (
    map (subnet: subnet.spec.interface) served
  );
  # Resources of a cluster are not known here.
  serves6 = cfg.cluster.enable || lib.any (subnet: (subnet.spec.ipv6 or null) != null) served;
  proxies =
    cfg.cluster.enable
    || lib.any (
      subnet:
      lib.elem subnet.spec.mode [
        "Proxy"
        "Auto"
      ]
    ) served;

  value =
    name: if cfg.settings.${name} == null then known.serve.${name}.default else cfg.settings.${name};
  portOf = address: lib.toInt (lib.last (lib.splitString ":" address));

  stateFolder = value "state";
  stateName = lib.removePrefix "/var/lib/" stateFolder;

  credentials =
    cfg.credentials
    // lib.optionalAttrs (cfg.cluster.kubeconfig != null) { kubeconfig = cfg.cluster.kubeconfig; };

  arguments =
    (
      if cfg.cluster.enable then
        [ "operator" ]
        ++ lib.concatMap (path: [
          "--manifests"
          (toString path)
        ]) allManifests
        ++ lib.optionals (cfg.cluster.kubeconfig != null) [
          "--kubeconfig"
          "${credentialsFolder}/kubeconfig"
        ]
        ++ own.arguments clusterFlags cfg.cluster
      else
        [ "serve" ] ++ map toString allManifests
    )
    ++ own.arguments settingFlags cfg.settings
    ++ cfg.extraArgs;

  saidOfCluster = lib.filter (
    name:
    !lib.elem cfg.cluster.${name} [
      null
      false
      [ ]
    ]
  ) (lib.attrNames (own.flags clusterFlags) ++ [ "kubeconfig" ]);
in
{
  options.services.reveille = {
    enable = lib.mkEnableOption "Reveille, network boot for bare metal";

    package = mkOption {
      type = types.package;
      default = self.packages.${system}.reveille;
      defaultText = lib.literalExpression "reveille.packages.\${system}.reveille";
      description = "The program. It also checks the manifests when the system is built.";
    };

    loaders = mkOption {
      type = types.nullOr types.package;
      default = self.packages.${system}.ipxe;
      defaultText = lib.literalExpression "reveille.packages.\${system}.ipxe";
      description = ''
        iPXE for all architectures, with Reveille's first script. `null` leaves it out; folders of
        your own are `settings.loaders`, and are searched first.
      '';
    };

    resources = resources;

    manifests = mkOption {
      type = types.listOf types.path;
      default = [ ];
      example = lib.literalExpression ''[ ./boot "/srv/boot-manifests" ]'';
      description = ''
        More files and folders with manifests. Nix paths are checked when the system is built;
        strings name files of the host, which are watched while it runs.
      '';
    };

    finalManifests = mkOption {
      type = types.attrsOf types.raw;
      readOnly = true;
      default = manifests;
      defaultText = lib.literalMD "made of `resources`";
      description = "The resources as they are served, by file name; to read only.";
    };

    settings = own.flags settingFlags;

    cluster = {
      enable = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Whether to serve the resources of a Kubernetes cluster (`reveille operator`). Manifests
          of this module are read beside them; an object of the same name in the cluster wins.
        '';
      };
      kubeconfig = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "/etc/rancher/k3s/k3s.yaml";
        description = ''
          The kubeconfig, outside of the Nix store; systemd hands it over as a credential.
        '';
      };
    }
    // own.flags clusterFlags;

    credentials = mkOption {
      type = types.attrsOf types.str;
      default = { };
      example = {
        registry = "/run/secrets/registry.json";
      };
      description = ''
        Secrets by name: files outside of the Nix store that only root need read. The service
        sees them as `${credentialsFolder}/NAME`.
      '';
    };

    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether to open DHCP, TFTP and HTTP on `firewallInterfaces`. The admin port stays closed.
      '';
    };

    firewallInterfaces = mkOption {
      type = types.listOf types.nonEmptyStr;
      default = lib.unique named;
      defaultText = lib.literalMD "the interfaces that `resources.subnets` name";
      example = [ "enp1s0" ];
      description = "The interfaces that face the machines.";
    };

    extraArgs = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "More arguments.";
    };
  };

  config = lib.mkIf cfg.enable {
    services.reveille.settings.loaders = lib.mkIf (cfg.loaders != null) (
      lib.mkAfter [ "${cfg.loaders}" ]
    );

    assertions = [
      {
        assertion = cfg.cluster.enable || allManifests != [ ];
        message = "services.reveille has nothing to serve: add a Subnet and a BootProfile to services.reveille.resources, name files in services.reveille.manifests, or set services.reveille.cluster.enable.";
      }
      {
        assertion = cfg.cluster.enable || saidOfCluster == [ ];
        message = "services.reveille.cluster.${
          lib.head (saidOfCluster ++ [ "" ])
        } is set, but no cluster is served: set services.reveille.cluster.enable = true, or remove it.";
      }
      {
        assertion = !cfg.cluster.enable || cfg.cluster.kubeconfig != null;
        message = "services.reveille.cluster.kubeconfig is missing: name the kubeconfig by which the operator reaches the API server, such as /etc/rancher/k3s/k3s.yaml.";
      }
      {
        assertion = cfg.cluster.namespace == null || !cfg.cluster.allNamespaces;
        message = "services.reveille.cluster: `namespace` and `allNamespaces` contradict each other; remove one of the two.";
      }
      {
        assertion = lib.hasPrefix "/var/lib/" stateFolder && !lib.hasInfix "/" stateName;
        message = "services.reveille.settings.state is ${stateFolder}: systemd makes the state folder right below /var/lib; name it /var/lib/NAME, and mount or link other disks there.";
      }
      {
        assertion = !cfg.openFirewall || cfg.firewallInterfaces != [ ];
        message = "services.reveille.openFirewall opens nothing: no Subnet in services.reveille.resources names an interface; list those that face the machines in services.reveille.firewallInterfaces.";
      }
      {
        assertion = value "http" != value "admin";
        message = "services.reveille.settings: `http` and `admin` are both ${value "http"}; machines must not reach the admin port, so give it another.";
      }
    ]
    ++ lib.mapAttrsToList (name: path: {
      assertion = lib.hasPrefix "/" path && !inStore path;
      message = "services.reveille: the secret `${name}` is ${path}, which is not an absolute path outside of ${builtins.storeDir}; anyone may read the store. Write it as a string, such as \"/run/secrets/${name}\".";
    }) credentials;

    warnings =
      lib.optional (config.services.kea.dhcp4.enable && served != [ ])
        "services.kea.dhcp4 and services.reveille both serve DHCP on this host; on one network they answer in turns. Turn one off, or give them different interfaces.";

    # What dist/systemd/reveille.sysusers.conf makes elsewhere.
    users.users.reveille = {
      isSystemUser = true;
      group = "reveille";
      description = "Reveille network boot";
    };
    users.groups.reveille = { };

    environment.systemPackages = [ cfg.package ];
    # Watched: new manifests are served a moment later, without a restart.
    environment.etc = lib.mkIf (ownManifests != [ ]) { ${manifestsFolder}.source = checked; };

    systemd.tmpfiles.rules = lib.mkIf (!inStore (value "artifacts")) [
      "d ${value "artifacts"} 0755 root root -"
    ];

    networking.firewall.interfaces = lib.mkIf cfg.openFirewall (
      lib.genAttrs cfg.firewallInterfaces (_: {
        allowedUDPPorts = [
          67
          (portOf (value "tftp"))
        ]
        ++ lib.optional proxies 4011
        ++ lib.optional serves6 547;
        allowedTCPPorts = [ (portOf (value "http")) ];
      })
    );

    systemd.services.reveille = {
      description = unit.Unit.Description;
      documentation = [ unit.Unit.Documentation ];
      wants = [ unit.Unit.Wants ];
      after = [ unit.Unit.After ];
      wantedBy = [ unit.Install.WantedBy ];

      serviceConfig = removeAttrs unit.Service [ "EnvironmentFile" ] // {
        ExecStart = utils.escapeSystemdExecArgs ([ (lib.getExe cfg.package) ] ++ arguments);
        StateDirectory = stateName;
        LoadCredential = lib.mapAttrsToList (name: path: "${name}:${path}") credentials;
      };
    };
  };
}
