//! What the status says of an IPv6 network.

use super::*;
use crate::api::AddressCounts;
use crate::net::Link6;

#[test]
fn a_subnet_tells_of_its_ipv6_network() {
    let network = json!({"cidr": "2001:db8:33::/64",
        "pools": [{"start": "2001:db8:33::100", "end": "2001:db8:33::1ff"}]});
    let (object, old) = (
        ObjectRef::new(Kind::Subnet, "edge", "lab"),
        SubnetStatus::default(),
    );
    let link6 = Link6 {
        name: "br0".to_owned(),
        index: 3,
        address: "2001:db8:33::1".parse().unwrap(),
    };
    let status = |world: &Sight, listener: &Listening, free: u32| {
        subnet(&SubnetInput {
            object: &object,
            generation: 1,
            old: &old,
            sight: world,
            listener,
            acting: Acting::Server,
            usage: Some(Usage::default()),
            usage6: Some(AddressCounts {
                total: 256,
                free,
                used: 256 - free,
                declined: 0,
            }),
            link6: Some(&link6),
            servers: &BTreeMap::new(),
            now: at(1000),
        })
    };
    let both = sight(&[lab(json!({"ipv6": network}))]);
    let told_of = status(&both, &bound(), 255);
    assert_eq!(
        message(&told_of.conditions, About::Ready),
        "DHCP serves 192.0.2.1 and DHCPv6 serves 2001:db8:33::1 on br0"
    );
    let ipv6 = told_of.ipv6.unwrap();
    assert_eq!(ipv6.server, Some(link6.address));
    assert_eq!(ipv6.addresses.map(|it| (it.used, it.free)), Some((1, 255)));
    let full = status(&both, &bound(), 0);
    assert_eq!(told(&full.conditions)[3], "PoolExhausted=True/AllTaken");

    let alone = json!({"mode": "Server", "interface": "br0", "ipv6": network});
    let alone = sight(&[(Kind::Subnet, "lab", alone)]);
    let six = Listening::Six(link6.clone());
    let status = status(&alone, &six, 255);
    assert_eq!(
        told(&status.conditions),
        [
            "Ready=True/Served",
            "InterfaceReady=True/Listening",
            "ForeignDhcp=False/NoneHeard",
            "PoolExhausted=False/AddressesFree"
        ]
    );
    assert_eq!(
        message(&status.conditions, About::Ready),
        "DHCPv6 serves 2001:db8:33::1 on br0"
    );
    assert_eq!(
        (status.interface.as_deref(), status.server),
        (Some("br0"), None)
    );
}
