# A NixOS host that boots the machines of one network, and one configuration
# that they boot.
{
  # Where the repository is: github:OWNER/reveille, or git+file:///a/folder.
  inputs.reveille.url = "git+file:///srv/git/reveille";
  inputs.nixpkgs.follows = "reveille/nixpkgs";

  outputs =
    { nixpkgs, reveille, ... }:
    let
      system = "x86_64-linux";

      # What the machines boot, from memory.
      worker = nixpkgs.lib.nixosSystem {
        inherit system;
        modules = [
          (
            { modulesPath, ... }:
            {
              imports = [ "${modulesPath}/installer/netboot/netboot-minimal.nix" ];
              boot.kernelParams = [ "console=ttyS0" ];
            }
          )
        ];
      };
      boot = reveille.lib.bootProfileFromNixos {
        name = "worker";
        nixos = worker;
        spec.default = true;
      };
    in
    {
      nixosConfigurations.bootserver = nixpkgs.lib.nixosSystem {
        inherit system;
        modules = [
          # ./hardware-configuration.nix
          reveille.nixosModules.default
          boot.module
          ./bootserver.nix
        ];
      };
    };
}
