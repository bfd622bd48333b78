# Stands in for nixpkgs' lib: as much of its module system as this repository's
# module, library and tests use, so that they can be evaluated without a network.
# It is strict where nixpkgs is: types, unknown options, missing values.
let
  b = builtins;
  inherit (b)
    attrNames
    concatLists
    concatMap
    concatStringsSep
    elem
    elemAt
    filter
    foldl'
    hasAttr
    head
    isAttrs
    isInt
    isList
    isString
    length
    listToAttrs
    mapAttrs
    stringLength
    substring
    ;

  genAttrs =
    names: f:
    listToAttrs (
      map (name: {
        inherit name;
        value = f name;
      }) names
    );
  mapAttrsToList = f: attrs: map (name: f name attrs.${name}) (attrNames attrs);
  nameValuePair = name: value: { inherit name value; };
  filterAttrs =
    keep: attrs:
    listToAttrs (
      concatMap (name: if keep name attrs.${name} then [ (nameValuePair name attrs.${name}) ] else [ ]) (
        attrNames attrs
      )
    );
  optional = condition: value: if condition then [ value ] else [ ];
  optionalString = condition: text: if condition then text else "";
  unique = foldl' (all: one: if elem one all then all else all ++ [ one ]) [ ];
  toList = value: if isList value then value else [ value ];
  last = list: elemAt list (length list - 1);
  hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
  hasSuffix =
    suffix: text:
    let
      from = stringLength text - stringLength suffix;
    in
    from >= 0 && substring from (-1) text == suffix;
  splitString = separator: text: filter isString (b.split (quote separator) text);
  quote =
    b.replaceStrings
      [
        "."
        "["
        "*"
        "+"
        "?"
        "("
        ")"
        "^"
        "$"
        "\\"
        "|"
        "{"
      ]
      [
        "\\."
        "\\["
        "\\*"
        "\\+"
        "\\?"
        "\\("
        "\\)"
        "\\^"
        "\\$"
        "\\\\"
        "\\|"
        "\\{"
      ];
  isFunction = f: b.isFunction f || isAttrs f && f ? __functor;
  isDerivation = value: value.type or "" == "derivation";
  assertMsg = condition: message: condition || throw message;
  recursiveUpdate =
    left: right:
    if isAttrs left && isAttrs right && !(left ? _type) && !(right ? _type) then
      left
      // mapAttrs (
        name: value: if left ? ${name} then recursiveUpdate left.${name} value else value
      ) right
    else
      right;

  # === definitions with conditions, priorities and order ===

  property = _type: fields: { inherit _type; } // fields;
  mkIf = condition: content: property "if" { inherit condition content; };
  mkMerge = contents: property "merge" { inherit contents; };
  mkOverride = priority: content: property "override" { inherit priority content; };
  mkOrder = order: content: property "order" { inherit order content; };
  is = type: value: isAttrs value && value._type or null == type;

  # Moves a condition or priority of a set to each of its values.
  push =
    definition:
    if is "merge" definition then
      concatMap push definition.contents
    else if is "if" definition then
      map (mapAttrs (_: mkIf definition.condition)) (push definition.content)
    else if is "override" definition then
      map (mapAttrs (_: mkOverride definition.priority)) (push definition.content)
    else
      [ definition ];

  discharge =
    definition:
    if is "merge" definition then
      concatMap discharge definition.contents
    else if is "if" definition then
      (if definition.condition then discharge definition.content else [ ])
    else if is "override" definition then
      map (one: one // { inherit (definition) priority; }) (discharge definition.content)
    else if is "order" definition then
      map (one: one // { inherit (definition) order; }) (discharge definition.content)
    else
      [
        {
          priority = 100;
          order = 1000;
          value = definition;
        }
      ];

  # The values that count, in order.
  resolve =
    definitions:
    let
      all = concatMap discharge definitions;
      best = foldl' (least: one: if one.priority < least then one.priority else least) 10000 all;
      counted = filter (one: one.priority == best) all;
    in
    map (one: one.value) (b.sort (x: y: x.order < y.order) counted);

  # === types ===

  show = concatStringsSep ".";
  wrong =
    at: type: value:
    throw "A definition for option `${show at}' is not of type `${type}'. It is ${
      if isAttrs value || isList value || b.isFunction value then
        "a ${b.typeOf value}"
      else
        b.toJSON value
    }.";

  # A type of one value, that several definitions must agree on.
  scalar = description: check: {
    inherit description check;
    merge =
      at: values:
      let
        checked = map (value: if check value then value else wrong at description value) values;
      in
      if length (unique checked) > 1 then
        throw "The option `${show at}' has conflicting definition values"
      else
        head checked;
  };

  types = rec {
    raw = {
      description = "raw value";
      check = _: true;
      merge =
        _: values:
        if length values == 1 then
          head values
        else if b.all isList values then
          concatLists values
        else
          foldl' recursiveUpdate { } values;
    };
    unspecified = raw;
    anything = raw;
    bool = scalar "boolean" b.isBool;
    int = scalar "signed integer" isInt;
    number = scalar "signed integer or floating point number" (x: isInt x || b.isFloat x);
    ints = {
      between =
        low: high:
        scalar "integer between ${toString low} and ${toString high} (both inclusive)" (
          x: isInt x && x >= low && x <= high
        );
      unsigned = scalar "unsigned integer, meaning >=0" (x: isInt x && x >= 0);
      positive = scalar "positive integer, meaning >0" (x: isInt x && x > 0);
    };
    port = ints.between 0 65535 // {
      description = "16 bit unsigned integer; between 0 and 65535 (both inclusive)";
    };
    str = scalar "string" isString;
    singleLineStr = str;
    nonEmptyStr = scalar "non-empty string" (x: isString x && b.match "[ \t\n]*" x == null);
    strMatching =
      pattern:
      scalar "string matching the pattern ${pattern}" (x: isString x && b.match pattern x != null);
    path = scalar "absolute path" (x: b.isPath x || isString x && hasPrefix "/" x || x ? outPath);
    package = scalar "package" isDerivation;
    enum = values: scalar "one of ${concatStringsSep ", " (map b.toJSON values)}" (x: elem x values);
    nullOr = type: {
      description = "null or ${type.description}";
      check = x: x == null || type.check x;
      merge =
        at: values:
        if b.all (x: x == null) values then null else type.merge at (filter (x: x != null) values);
    };
    either = one: other: {
      description = "${one.description} or ${other.description}";
      check = x: one.check x || other.check x;
      merge =
        at: values:
        if b.all one.check values then
          one.merge at values
        else if b.all other.check values then
          other.merge at values
        else
          wrong at "${one.description} or ${other.description}" (head values);
    };
    oneOf = all: foldl' either (head all) (b.tail all);
    listOf = type: rec {
      description = "list of ${type.description}";
      check = isList;
      merge =
        at: values:
        concatMap (
          value:
          if isList value then
            concatMap (
              one:
              let
                found = resolve [ one ];
              in
              if found == [ ] then [ ] else [ (type.merge (at ++ [ "*" ]) found) ]
            ) value
          else
            wrong at description value
        ) values;
    };
    attrsOf = type: rec {
      description = "attribute set of ${type.description}";
      check = isAttrs;
      merge =
        at: values:
        let
          sets = concatMap push values;
          names = unique (
            concatMap (set: if isAttrs set then attrNames set else wrong at description set) sets
          );
          found = genAttrs names (name: resolve (map (set: set.${name}) (filter (hasAttr name) sets)));
        in
        mapAttrs (name: type.merge (at ++ [ name ])) (filterAttrs (_: all: all != [ ]) found);
    };
    lazyAttrsOf = attrsOf;
    functionTo = _: scalar "function" isFunction;
    deferredModule = {
      description = "module";
      check = _: true;
      merge = _: imports: { inherit imports; };
    };
    submodule = module: {
      description = "submodule";
      check = x: isAttrs x || isFunction x;
      merge =
        at: values:
        (evalModules {
          modules =
            toList module ++ map (v: if isAttrs v || isFunction v then v else wrong at "submodule" v) values;
          specialArgs.name = if at == [ ] then "" else last at;
          prefix = at;
        }).config;
    };
  };

  # === modules ===

  mkOption = option: { _type = "option"; } // option;

  # A module as imports, options, config and arguments.
  load =
    args: module:
    let
      value = if b.isPath module || isString module then import module else module;
      wanted = b.functionArgs value;
      given =
        name:
        args.fixed.${name} or (args.brought.${name} or (throw "module argument `${name}' is not set"));
      called =
        if !isFunction value then
          value
        else if wanted == { } then
          value (args.fixed // args.brought)
        else
          value (mapAttrs (name: _: given name) wanted);
      config =
        if called ? options || called ? config then
          called.config or { }
        else
          removeAttrs called [
            "imports"
            "_module"
          ];
      one = {
        inherit config;
        options = called.options or { };
        arguments = called._module.args or { };
        strict = called._module.check or true;
      };
    in
    [ one ] ++ concatMap (load args) (called.imports or [ ]);

  # Whatever a module says is held against the options; a value is made of each.
  values =
    strict: at: options: definitions:
    let
      sets = concatMap push definitions;
      said = unique (concatMap attrNames sets);
      unknown = filter (name: !(options ? ${name})) said;
      of = name: map (set: set.${name}) (filter (hasAttr name) sets);
      value =
        name: option:
        let
          here = at ++ [ name ];
          default = optional (option ? default) (mkOverride 1500 option.default);
          type = option.type or types.raw;
          held = one: if type.check one then one else wrong here type.description one;
          found = map held (resolve (of name ++ default));
        in
        if option._type or null != "option" then
          values strict here option (of name)
        else if found == [ ] then
          throw "The option `${show here}' was accessed but has no value defined. Try setting the option."
        else
          (option.apply or (x: x)) (type.merge here found);
    in
    if strict && unknown != [ ] then
      throw "The option `${show (at ++ [ (head unknown) ])}' does not exist."
    else
      mapAttrs value options;

  evalModules =
    {
      modules,
      specialArgs ? { },
      prefix ? [ ],
    }:
    let
      # Imports may depend on these, and not on what modules bring.
      fixed = {
        inherit lib config options;
      }
      // specialArgs;
      args = {
        inherit fixed;
        brought = arguments;
      };
      loaded = concatMap (load args) modules;
      arguments = foldl' (all: one: all // one.arguments) { } loaded;
      options = foldl' (all: one: recursiveUpdate all one.options) { } loaded;
      strict = b.all (one: one.strict) loaded;
      config = values strict prefix options (map (one: one.config) loaded);
    in
    {
      inherit config options;
    };

  lib = {
    inherit
      assertMsg
      evalModules
      filterAttrs
      genAttrs
      hasPrefix
      hasSuffix
      isDerivation
      isFunction
      last
      mapAttrsToList
      mkIf
      mkMerge
      mkOption
      mkOrder
      mkOverride
      nameValuePair
      optional
      optionalString
      recursiveUpdate
      splitString
      toList
      types
      unique
      ;
    inherit (b)
      all
      any
      attrNames
      attrValues
      concatLists
      concatMap
      concatStringsSep
      elem
      filter
      foldl'
      functionArgs
      head
      intersectAttrs
      isAttrs
      isList
      isPath
      isString
      length
      lessThan
      listToAttrs
      map
      mapAttrs
      replaceStrings
      sort
      stringLength
      substring
      tail
      toJSON
      ;
    concatMapStrings = f: list: concatStringsSep "" (map f list);
    concatMapStringsSep =
      separator: f: list:
      concatStringsSep separator (map f list);
    concatStrings = concatStringsSep "";
    mapAttrs' = f: attrs: listToAttrs (mapAttrsToList f attrs);
    imap0 = f: list: b.genList (n: f n (elemAt list n)) (length list);
    optionals = condition: list: if condition then list else [ ];
    optionalAttrs = condition: attrs: if condition then attrs else { };
    subtractLists = gone: filter (one: !elem one gone);
    hasInfix = infix: text: length (splitString infix text) > 1;
    removePrefix =
      prefix: text: if hasPrefix prefix text then substring (stringLength prefix) (-1) text else text;
    removeSuffix =
      suffix: text:
      if hasSuffix suffix text then substring 0 (stringLength text - stringLength suffix) text else text;
    toInt = b.fromJSON;
    toUpper = b.replaceStrings (letters "abcdefghijklmnopqrstuvwxyz") (
      letters "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    );
    mkDefault = mkOverride 1000;
    mkForce = mkOverride 50;
    mkBefore = mkOrder 500;
    mkAfter = mkOrder 1500;
    mkEnableOption =
      what:
      mkOption {
        default = false;
        type = types.bool;
        description = "Whether to enable ${what}.";
      };
    literalExpression = text: {
      _type = "literalExpression";
      inherit text;
    };
    literalMD = text: {
      _type = "literalMD";
      inherit text;
    };
    getExe = package: "${package}/bin/${package.meta.mainProgram}";
    importTOML = file: b.fromTOML (b.readFile file);
    importJSON = file: b.fromJSON (b.readFile file);
    licenses.asl20.spdxId = "Apache-2.0";
    platforms.linux = [
      "x86_64-linux"
      "aarch64-linux"
    ];
    # What is named must be there; what is in it only a build sees.
    fileset =
      let
        there =
          path:
          assert assertMsg (isList path || b.pathExists path) "lib.fileset: ${toString path} does not exist";
          path;
      in
      {
        unions = concatMap (path: toList (there path));
        difference = path: gone: [ (there path) ] ++ gone;
        maybeMissing = path: [ path ];
        fileFilter =
          keep: path:
          b.seq (keep {
            name = "a.nix";
            type = "regular";
            hasExt = _: true;
          }) [ (there path) ];
        toSource = { root, fileset }: b.toFile "source" (toString (map toString ([ root ] ++ fileset)));
      };
  };

  letters = text: b.genList (n: substring n 1 text) (stringLength text);
in
lib
