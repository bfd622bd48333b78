# Hosts with services.reveille, evaluated against the stand-in for nixpkgs.
#
# `served`: what is right, and what comes of it. `refused`: what evaluation
# refuses, with a piece of what it says. `checked`: what only `reveille check`
# can see when the system is built.
let
  lib = import ./stub/nixos.nix { };
  system = "x86_64-linux";
  pkgs = lib.legacyPackages or (import ./stub/pkgs.nix { inherit system lib; });
  all = import ../../nix/overlay.nix pkgs { };
  self.packages.${system} = {
    inherit (all) reveille;
    ipxe = all.reveille-ipxe;
  };

  system' =
    modules:
    lib.nixosSystem {
      inherit system;
      modules = [ (import ../../nix/module.nix self) ] ++ modules;
    };

  # What nixos-rebuild would do of it; a refusal throws.
  host =
    modules:
    let
      inherit (system' modules) config;
      failed = lib.filter (one: !one.assertion) config.assertions;
    in
    if failed != [ ] then
      throw (lib.concatMapStringsSep "\n" (one: one.message) failed)
    else
      builtins.deepSeq config.services.reveille {
        unit = config.systemd.units."reveille.service".text;
        firewall = config.networking.firewall.interfaces;
        manifests = config.services.reveille.finalManifests;
        tmpfiles = config.systemd.tmpfiles.rules;
        inherit (config) warnings;
        # Forces the script that checks the manifests.
        etc = lib.mapAttrs (_: one: one.source.text) config.environment.etc;
      };

  on = reveille: {
    services.reveille = {
      enable = true;
    }
    // reveille;
  };

  lab = {
    mode = "Server";
    cidr = "192.0.2.0/24";
    interface = "enp1s0";
    pools = [
      {
        start = "192.0.2.100";
        end = "192.0.2.150";
      }
    ];
  };
  debian.linux = {
    kernel.path = "debian/linux";
    initrd = [ { path = "debian/initrd.gz"; } ];
    args = [ "hostname={{ machine.name }}" ];
  };

  # The smallest that serves.
  small = {
    resources.subnets.lab.spec = lab;
    resources.bootprofiles.debian.spec = debian // {
      default = true;
    };
  };

  worker = lib.nixosSystem {
    inherit system;
    modules = [
      (
        { modulesPath, ... }:
        {
          imports = [ "${modulesPath}/installer/netboot/netboot-minimal.nix" ];
          boot.kernelParams = [
            "console=ttyS0"
            "odd={{x}}"
          ];
        }
      )
    ];
  };
  inherit (import ../../nix/lib.nix { inherit lib; }) bootProfileFromNixos;

  subnet = change: on { resources.subnets.lab.spec = lab // change; };
  profile =
    spec:
    on {
      resources = small.resources // {
        bootprofiles.debian.spec = spec;
      };
    };
  machine =
    spec:
    on {
      resources = small.resources // {
        machines.node-7.spec = spec;
      };
    };
  setting = settings: on (small // { inherit settings; });
  cluster = cluster: on { inherit cluster; };
in
{
  served = lib.mapAttrs (_: host) {
    small = [ (on small) ];

    full = [
      (on (
        lib.recursiveUpdate small {
          openFirewall = true;
          resources.subnets.store.spec = lab // {
            cidr = "198.51.100.0/24";
            interface = "52:54:00:00:00:01";
            pools = [ ];
          };
          resources.machines.node-7 = {
            labels.role = "worker";
            spec = {
              interfaces = [
                {
                  mac = "52:54:00:12:34:56";
                  ip = "192.0.2.7";
                }
              ];
              boot.policy = "Local";
            };
          };
          manifests = [ "/srv/more" ];
          credentials.token = "/run/secrets/token";
          settings = {
            http = "0.0.0.0:8080";
            noListing = true;
            logFormat = "json";
            discoveredMax = 10;
            root = [ "isos=/srv/50% of isos" ];
            artifacts = "/data/boot";
          };
        }
      ))
    ];

    # Two modules that speak of one resource.
    merged = [
      (on small)
      { services.reveille.resources.subnets.lab.spec.routers = [ "192.0.2.1" ]; }
      { services.reveille.resources.subnets.lab.spec.routers = [ "192.0.2.2" ]; }
      { services.reveille.resources.subnets.lab.spec.mode = lib.mkForce "Disabled"; }
    ];

    cluster = [
      (cluster {
        enable = true;
        kubeconfig = "/etc/rancher/k3s/k3s.yaml";
        namespace = "boot";
        replicas = 2;
      })
      {
        services.reveille.openFirewall = true;
        services.reveille.firewallInterfaces = [ "enp1s0" ];
      }
    ];

    nixos = [
      (on { resources.subnets.lab.spec = lab; })
      (bootProfileFromNixos {
        name = "worker";
        nixos = worker;
        spec.default = true;
      }).module
    ];

    two-servers = [
      (on small)
      { services.kea.dhcp4.enable = true; }
    ];
  };

  refused =
    lib.mapAttrs
      (_: one: {
        inherit (one) says;
        result = host [ one.module ];
      })
      {
        nothing-to-serve = {
          module = on { };
          says = "add a Subnet and a BootProfile to services.reveille.resources";
        };
        unknown-option = {
          module = on (small // { intefaces = [ "eth0" ]; });
          says = "The option `services.reveille.intefaces' does not exist";
        };
        unknown-setting = {
          module = setting { user = "nobody"; };
          says = "The option `services.reveille.settings.user' does not exist";
        };
        unknown-kind = {
          module = on (small // { resources.machine.node-7.spec = { }; });
          says = "The option `services.reveille.resources.machine' does not exist";
        };
        unknown-field = {
          module = subnet { pool = [ ]; };
          says = "The option `services.reveille.resources.subnets.lab.spec.pool' does not exist";
        };
        missing-field = {
          module = on { resources.subnets.lab.spec = removeAttrs lab [ "mode" ]; };
          says = "The option `services.reveille.resources.subnets.lab.spec.mode' was accessed but has no value";
        };
        mode-of-no-kind = {
          module = subnet { mode = "Relay"; };
          says = "is not of type `one of \"Server\", ";
        };
        number-as-text = {
          module = subnet { mtu = "1500"; };
          says = "lab.spec.mtu' is not of type `null or integer between 576 and 9216";
        };
        number-out-of-range = {
          module = subnet { mtu = 100000; };
          says = "integer between 576 and 9216 (both inclusive)'. It is 100000";
        };
        text-as-list = {
          module = subnet { routers = "192.0.2.1"; };
          says = "lab.spec.routers' is not of type `null or list of string'";
        };
        list-of-wrong-things = {
          module = profile {
            linux = debian.linux // {
              initrd = [ "debian/initrd.gz" ];
            };
          };
          says = "bootprofiles.debian.spec.linux.initrd.*' is not of type `submodule'";
        };
        kernel-as-text = {
          module = profile { linux.kernel = "debian/linux"; };
          says = "bootprofiles.debian.spec.linux.kernel' is not of type `submodule'";
        };
        policy-of-no-kind = {
          module = machine {
            interfaces = [ { mac = "52:54:00:12:34:56"; } ];
            boot.policy = "Never";
          };
          says = "machines.node-7.spec.boot.policy' is not of type `null or one of \"Always\"";
        };
        interface-without-mac = {
          module = machine { interfaces = [ { ip = "192.0.2.7"; } ]; };
          says = "node-7.spec.interfaces.*.mac' was accessed but has no value";
        };
        labels-as-list = {
          module = on (
            small
            // {
              resources.subnets.lab = {
                spec = lab;
                labels = [ "a" ];
              };
            }
          );
          says = "subnets.lab.labels' is not of type `attribute set of string'";
        };
        address-without-port = {
          module = setting { http = "0.0.0.0"; };
          says = "settings.http' is not of type `null or address and port, such as 0.0.0.0:80'";
        };
        relative-folder = {
          module = setting { artifacts = "boot"; };
          says = "settings.artifacts' is not of type `null or absolute path'";
        };
        flag-as-text = {
          module = setting { noListing = "yes"; };
          says = "settings.noListing' is not of type `boolean'. It is \"yes\"";
        };
        negative-number = {
          module = setting { discoveredMax = -1; };
          says = "settings.discoveredMax' is not of type `null or unsigned integer";
        };
        log-of-no-format = {
          module = setting { logFormat = "xml"; };
          says = "settings.logFormat' is not of type `null or one of \"auto\", \"text\", \"json\"'";
        };
        package-as-text = {
          module = on (small // { package = "reveille"; });
          says = "services.reveille.package' is not of type `package'";
        };
        state-elsewhere = {
          module = setting { state = "/data/reveille"; };
          says = "name it /var/lib/NAME, and mount or link other disks there";
        };
        admin-for-machines = {
          module = setting { admin = "0.0.0.0:80"; };
          says = "machines must not reach the admin port, so give it another";
        };
        firewall-without-interface = {
          module = on (
            small
            // {
              openFirewall = true;
              resources = small.resources // {
                subnets.lab.spec = lab // {
                  interface = "52:54:00:00:00:01";
                };
              };
            }
          );
          says = "list those that face the machines in services.reveille.firewallInterfaces";
        };
        cluster-without-kubeconfig = {
          module = cluster { enable = true; };
          says = "cluster.kubeconfig is missing: name the kubeconfig";
        };
        cluster-not-enabled = {
          module = on (small // { cluster.namespace = "boot"; });
          says = "services.reveille.cluster.namespace is set, but no cluster is served";
        };
        cluster-of-two-minds = {
          module = cluster {
            enable = true;
            kubeconfig = "/etc/k.yaml";
            namespace = "boot";
            allNamespaces = true;
          };
          says = "`namespace` and `allNamespaces` contradict each other; remove one of the two";
        };
        secret-in-the-store = {
          module = cluster {
            enable = true;
            kubeconfig = "${builtins.toFile "kubeconfig" "secret"}";
          };
          says = "the secret `kubeconfig` is /";
        };
        secret-without-a-place = {
          module = on (small // { credentials.token = "token"; });
          says = "Write it as a string, such as \"/run/secrets/token\"";
        };
        nixos-without-netboot = {
          module =
            (bootProfileFromNixos {
              name = "desk";
              nixos = lib.nixosSystem {
                inherit system;
                modules = [ ];
              };
            }).module;
          says = "let it import \"\${modulesPath}/installer/netboot/netboot-minimal.nix\"";
        };
      };

  # Types are right; the world is not.
  checked =
    lib.mapAttrs
      (_: one: {
        inherit (one) says;
        inherit (host [ one.module ]) manifests;
      })
      {
        pool-outside = {
          module = subnet {
            pools = [
              {
                start = "198.51.100.1";
                end = "198.51.100.9";
              }
            ];
          };
          says = "keep the pool inside the network";
        };
        two-sources = {
          module = profile (debian // { local = { }; });
          says = "a profile boots `linux` or `local`, not both";
        };
        no-mac = {
          module = machine { interfaces = [ { mac = "52:54:00"; } ]; };
          says = "is not a MAC address such as 52:54:00:12:34:56";
        };
        missing-profile = {
          module = machine {
            interfaces = [ { mac = "52:54:00:12:34:56"; } ];
            profileRef.name = "debain";
          };
          says = "debain";
        };
        broken-template = {
          module = profile {
            linux = debian.linux // {
              args = [ "hostname={{ machine.nam" ];
            };
          };
          says = "template";
        };
      };

  page = import ../../nix/options-page.nix { inherit lib; };
}
