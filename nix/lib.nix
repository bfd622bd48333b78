{ lib }:
{
  # What boots a NixOS configuration over the network. The configuration imports
  # nixpkgs' installer/netboot/netboot-minimal.nix or netboot.nix.
  #
  #   boot = reveille.lib.bootProfileFromNixos {
  #     name = "worker";
  #     nixos = self.nixosConfigurations.worker;
  #   };
  #
  # `boot.module` is for a host with services.reveille; `boot.manifest` is for
  # kubectl (builtins.toJSON) and `boot.tree` the files, to be copied into the
  # artifact tree as the folder NAME.
  bootProfileFromNixos =
    {
      name,
      nixos,
      labels ? { },
      # More of the profile's spec: default, machineSelector, architectures …
      spec ? { },
      extraKernelParams ? [ ],
    }:
    let
      inherit (nixos) config pkgs;
      inherit (config.system) build;
      inherit (config.system.boot.loader) kernelFile;

      tree = pkgs.runCommand "reveille-tree-${name}" { } ''
        mkdir $out
        cp ${build.kernel}/${kernelFile} $out/${kernelFile}
        cp ${build.netbootRamdisk}/initrd $out/initrd
      '';

      # Arguments are templates; what NixOS says is not.
      plain = lib.replaceStrings [ "{{" "{%" "{#" ] [ "{{ '{{' }}" "{{ '{%' }}" "{{ '{#' }}" ];

      resource = {
        inherit labels;
        spec = {
          linux = {
            kernel.path = "${name}/${kernelFile}";
            initrd = [ { path = "${name}/initrd"; } ];
            args = map plain (
              [
                # The ramdisk holds the system; whatever holds the manifest need not.
                "init=${builtins.unsafeDiscardStringContext "${build.toplevel}"}/init"
              ]
              ++ config.boot.kernelParams
              ++ extraKernelParams
            );
          };
        }
        // spec;
      };
    in
    assert lib.assertMsg (build ? netbootRamdisk)
      "bootProfileFromNixos: the NixOS configuration `${name}` has no netboot ramdisk; let it import \"\${modulesPath}/installer/netboot/netboot-minimal.nix\"";
    {
      inherit tree resource;
      manifest = {
        apiVersion = "reveille.dev/v1alpha1";
        kind = "BootProfile";
        metadata = { inherit name labels; };
        inherit (resource) spec;
      };
      module = {
        services.reveille = {
          resources.bootprofiles.${name} = resource;
          settings.root = [ "${name}=${tree}" ];
        };
      };
    };
}
