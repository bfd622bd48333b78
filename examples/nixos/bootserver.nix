{
  services.reveille = {
    enable = true;
    openFirewall = true;

    # The fields are those of the manifests; a wrong one is refused before
    # anything is built.
    resources.subnets.lab.spec = {
      mode = "Server";
      cidr = "192.0.2.0/24";
      interface = "enp1s0";
      pools = [
        {
          start = "192.0.2.100";
          end = "192.0.2.150";
        }
      ];
      routers = [ "192.0.2.1" ];
    };
    resources.machines.node-7 = {
      labels.role = "worker";
      spec.interfaces = [
        {
          mac = "52:54:00:12:34:56";
          ip = "192.0.2.7";
        }
      ];
    };

    # What boots it: fetched once by the service, verified, kept. Give each
    # file its sha256 to pin it.
    resources.artifacts.debian-12.spec.files =
      let
        from = "https://deb.debian.org/debian/dists/bookworm/main/installer-amd64/current/images/netboot/debian-installer/amd64";
      in
      [
        {
          path = "linux";
          url = "${from}/linux";
        }
        {
          path = "initrd.gz";
          url = "${from}/initrd.gz";
        }
      ];
    resources.bootprofiles.debian.spec = {
      default = true;
      linux = {
        kernel.artifactRef = {
          name = "debian-12";
          path = "linux";
        };
        initrd = [
          {
            artifactRef = {
              name = "debian-12";
              path = "initrd.gz";
            };
          }
        ];
      };
    };
  };
}
