{ imports = [ ./netboot.nix ]; }
