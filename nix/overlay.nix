# Everything this repository builds, as an overlay of nixpkgs.
final: _prev:
let
  # Works on plain nixpkgs too, where `final` has none of ours.
  own = {
    reveille = final.callPackage ./package.nix { };
    reveille-ipxe = final.callPackage ./ipxe.nix { };
    reveille-container = final.callPackage ./container.nix { inherit (own) reveille reveille-ipxe; };
    reveille-docs = final.callPackage ./docs.nix { inherit (own) reveille; };
  };
in
own
