# NixOS types of what the program says of itself: the schemas of its resources
# (schemas.json) and its flags (settings.json). `make crds` writes both.
{ lib }:
let
  inherit (lib) mkOption types;

  # Sentences end with a full stop, and never with two.
  sentence = text: if lib.hasSuffix "." text then text else "${text}.";

  # The type of a value of a resource.
  ofSchema =
    schema:
    if schema ? enum then
      types.enum schema.enum
    else
      {
        string = if schema.minLength or 0 > 0 then types.nonEmptyStr else types.str;
        boolean = types.bool;
        number = types.number;
        integer =
          if schema ? minimum && schema ? maximum then
            # JSON says 576.0.
            types.ints.between (builtins.floor schema.minimum) (builtins.floor schema.maximum)
          else if schema.minimum or (-1) >= 0 then
            types.ints.unsigned
          else
            types.int;
        array = types.listOf (ofSchema schema.items);
        object =
          if schema ? additionalProperties then
            types.attrsOf (ofSchema schema.additionalProperties)
          else
            types.submodule { options = fieldsOf schema; };
      }
      .${schema.type or "object"};

  fieldsOf =
    schema:
    lib.mapAttrs (
      name: field:
      let
        required = lib.elem name (schema.required or [ ]);
        default = lib.optionalString (field ? default) " Default: `${builtins.toJSON field.default}`.";
        about = sentence (field.description or name) + default;
      in
      mkOption (
        if required then
          {
            type = ofSchema field;
            description = about;
          }
        else
          {
            # Absent, not null: the program knows its own defaults.
            type = types.nullOr (ofSchema field);
            default = null;
            description = about;
          }
      )
    ) (schema.properties or { });

  address = types.strMatching "[0-9A-Fa-f.:[]*]?:[0-9]+" // {
    description = "address and port, such as 0.0.0.0:80";
  };

  # The type of a flag.
  ofFlag =
    flag:
    let
      one =
        {
          inherit address;
          bool = types.bool;
          enum = types.enum (flag.values or [ ]);
          number = types.ints.unsigned;
          path = types.path;
          text = types.nonEmptyStr;
        }
        .${flag.type};
    in
    if flag.many or false then
      types.listOf one
    else if flag.type == "bool" then
      one
    else
      types.nullOr one;

  camel =
    flag:
    let
      words = lib.splitString "-" flag;
      upper = word: lib.toUpper (lib.substring 0 1 word) + lib.substring 1 (-1) word;
    in
    lib.head words + lib.concatMapStrings upper (lib.tail words);
in
{
  # Options for the spec of a resource.
  resource = ofSchema;

  # Options for flags: `admin-socket` becomes `adminSocket`.
  flags =
    flags:
    lib.mapAttrs' (
      name: flag:
      lib.nameValuePair (camel name) (mkOption {
        type = ofFlag flag;
        default =
          if flag.many or false then
            [ ]
          else if flag.type == "bool" then
            false
          else
            null;
        description =
          "`--${name}`: ${sentence flag.description}"
          + lib.optionalString (
            flag ? default && flag.type != "bool"
          ) " Default of the program: `${toString flag.default}`.";
      })
    ) flags;

  # The command line that says `values`, of those of `flags` that are said.
  arguments =
    flags: values:
    lib.concatLists (
      lib.mapAttrsToList (
        name: flag:
        let
          value = values.${camel name};
          all = if flag.many or false then value else lib.optional (value != null) value;
        in
        if flag.type == "bool" then
          lib.optional value "--${name}"
        else
          lib.concatMap (one: [
            "--${name}"
            (if lib.isPath one then "${one}" else toString one)
          ]) all
      ) flags
    );

  # A value of a resource without what was not said.
  prune =
    let
      go =
        value:
        if lib.isAttrs value && !lib.isDerivation value then
          lib.mapAttrs (_: go) (lib.filterAttrs (_: v: v != null) value)
        else if lib.isList value then
          map go value
        else
          value;
    in
    go;
}
