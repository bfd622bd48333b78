# Three machines without a disk boot NixOS from a host with services.reveille:
# a BIOS, a UEFI by PXE, a UEFI by HTTP.
#
#   nix build .#checks.x86_64-linux.boots
{ self, pkgs }:
let
  inherit (pkgs) lib;
  inherit (pkgs.stdenv.hostPlatform) system;

  target = self.inputs.nixpkgs.lib.nixosSystem {
    inherit system;
    modules = [
      (
        { modulesPath, ... }:
        {
          imports = [
            "${modulesPath}/installer/netboot/netboot-minimal.nix"
            # The driver talks to it over a serial line.
            "${modulesPath}/testing/test-instrumentation.nix"
          ];
          netboot.squashfsCompression = "zstd -Xcompression-level 1";
        }
      )
    ];
  };
  boot = self.lib.bootProfileFromNixos {
    name = "target";
    nixos = target;
    spec.default = true;
  };

  # The driver runs these with a shell, so $QEMU_VDE_SOCKET_1 is filled in there.
  # `romfile=` takes QEMU's own iPXE away: the firmware is what asks.
  machine =
    mac: arguments:
    lib.concatStringsSep " " (
      [
        "${pkgs.qemu_test}/bin/qemu-system-x86_64 -machine q35,accel=kvm:tcg -cpu max -m 3072"
        "-netdev vde,id=net0,sock=$QEMU_VDE_SOCKET_1"
        "-device virtio-net-pci,netdev=net0,mac=${mac},bootindex=1${arguments.device or ""}"
        "-device virtio-rng-pci"
      ]
      ++ arguments.more or [ ]
    );
  # Its own HTTP client is left out unless asked for.
  ovmf = pkgs.OVMF.override { httpSupport = true; };
  uefi = fwCfg: {
    device = ",romfile=";
    more = [
      "-drive if=pflash,format=raw,unit=0,readonly=on,file=${ovmf.firmware}"
      "-drive if=pflash,format=raw,unit=1,snapshot=on,file=${ovmf.variables}"
    ]
    ++ fwCfg;
  };

  machines = {
    # A BIOS can do network boot by the iPXE in its card's ROM only.
    bios = {
      mac = "52:54:00:12:01:01";
      arguments = { };
    };
    pxe = {
      mac = "52:54:00:12:01:02";
      arguments = uefi [ ];
    };
    http = {
      mac = "52:54:00:12:01:03";
      # Without PXE over IPv4 what is left to this firmware is HTTP.
      arguments = uefi [ "-fw_cfg name=opt/org.tianocore/IPv4PXESupport,string=n" ];
    };
  };
in
pkgs.testers.runNixOSTest {
  name = "reveille-boots";

  nodes.server =
    { pkgs, ... }:
    {
      imports = [
        self.nixosModules.default
        boot.module
      ];
      virtualisation.vlans = [ 1 ];
      virtualisation.memorySize = 2048;
      virtualisation.diskSize = 4096;
      environment.systemPackages = [ pkgs.curl ];
      services.reveille = {
        enable = true;
        openFirewall = true;
        resources.subnets.lab.spec = {
          mode = "Server";
          cidr = "192.168.1.0/24";
          interface = "eth1";
        };
        resources.machines = lib.mapAttrs (_: one: {
          spec.interfaces = [ { inherit (one) mac; } ];
        }) machines;
        resources.subnets.lab.spec.pools = [
          {
            start = "192.168.1.100";
            end = "192.168.1.150";
          }
        ];
      };
    };

  testScript = ''
    commands = {
    ${lib.concatStringsSep "\n" (
      lib.mapAttrsToList (name: one: ''
        "${name}": "${machine one.mac one.arguments}",
      '') machines
    )}
    }

    server.start()
    server.wait_for_unit("reveille.service")
    server.succeed("reveille status")
    server.succeed("systemctl show -p User reveille.service | grep -qx User=reveille")

    for name, command in commands.items():
        with subtest(name):
            client = create_machine(command, name=name)
            client.start()
            client.wait_for_unit("multi-user.target", timeout=900)
            server.succeed(f"reveille get machines | grep -E '^{name} .* Booted '")
            client.crash()

    server.succeed(
        "curl -sf http://127.0.0.1:9167/metrics"
        " | grep -E '^reveille_boots_total\\{.*result=\"handed-off\".*} [1-9]'"
    )
    # New manifests need no restart, and no machine is forgotten by one.
    server.succeed("systemctl restart reveille.service")
    server.wait_until_succeeds("reveille status")
    server.succeed("reveille get leases | grep -q 192.168.1.")
  '';
}
