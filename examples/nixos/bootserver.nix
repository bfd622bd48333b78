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
  };
}
