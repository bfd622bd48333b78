# `$(nix build --print-out-paths .#container) | podman load`
{
  lib,
  dockerTools,
  runCommand,
  reveille,
  reveille-ipxe,
}:
dockerTools.streamLayeredImage {
  name = "reveille";
  tag = reveille.version;
  contents = [
    dockerTools.caCertificates
    (runCommand "reveille-loaders" { } ''
      mkdir -p $out/usr/lib/ipxe $out/srv/reveille $out/var/lib/reveille
      cp ${reveille-ipxe}/* $out/usr/lib/ipxe/
    '')
  ];
  # Files of the Nix store carry no capabilities: this image runs as root, which
  # keeps CAP_NET_BIND_SERVICE and CAP_NET_RAW and gives up the rest by itself.
  config = {
    Entrypoint = [ (lib.getExe reveille) ];
    ExposedPorts = {
      "67/udp" = { };
      "4011/udp" = { };
      "547/udp" = { };
      "69/udp" = { };
      "80/tcp" = { };
    };
    Volumes = {
      "/srv/reveille" = { };
      "/var/lib/reveille" = { };
    };
    Labels = {
      "org.opencontainers.image.title" = "Reveille";
      "org.opencontainers.image.description" = reveille.meta.description;
      "org.opencontainers.image.licenses" = "Apache-2.0";
      "org.opencontainers.image.version" = reveille.version;
    };
  };
}
