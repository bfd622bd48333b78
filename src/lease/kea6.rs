//! One line of Kea's `kea-leases6.csv`. Pure; `kea` reads the file.

use std::net::Ipv6Addr;

use super::kea::{FieldProblem, Row};
use super::record::{LeaseKey, LeaseState, unhex};
use super::transfer::Networks;
use super::v6::{Lease6, MAX_DUID, association_key};

/// Columns that every version of the file has, and that we read.
pub(super) const COLUMNS: [&str; 6] = [
    "address",
    "duid",
    "valid_lifetime",
    "expire",
    "lease_type",
    "iaid",
];

/// From where Kea has a MAC address, where that is the interface's own: the
/// frame, the link-local address, the relay (RFC 6939).
const CERTAIN: [&str; 3] = ["1", "4", "8"];

/// The lease of a line; `None` where it says that there is none.
pub(super) fn lease(row: &Row<'_>, networks: &Networks) -> Result<Option<Lease6>, FieldProblem> {
    let address: Ipv6Addr = row.parse("address")?;
    match row.text("lease_type") {
        "0" => {}
        "1" | "2" => {
            let what = "temporary addresses and prefixes are not lent here";
            return Err(("lease_type", what.to_owned()));
        }
        other => return Err(("lease_type", format!("`{other}` is not 0, 1 or 2"))),
    }
    let state = row.state()?;
    let Some((since, expires)) = row.times()? else {
        return Ok(None);
    };
    let subnet = networks
        .subnet_of(address)
        .ok_or_else(|| ("address", format!("`{address}` is in no Subnet's `ipv6`")))?;
    let text = row.text("duid");
    let duid = unhex(text).ok_or_else(|| ("duid", format!("`{text}` is not hex")))?;
    // A declined lease is nobody's, and Kea leaves no more than zeros.
    let is_one = state == LeaseState::Declined || duid.len() >= 3;
    if !is_one || duid.len() > MAX_DUID {
        return Err(("duid", format!("`{text}` is not 3 to {MAX_DUID} bytes")));
    }
    let iaid: u32 = row.parse("iaid")?;
    let mac = row.mac()?;
    let own = mac.filter(|_| CERTAIN.contains(&row.text("hwaddr_source")));
    Ok(Some(Lease6 {
        address,
        key: own.map_or_else(|| association_key(&duid, iaid), LeaseKey::Mac),
        mac,
        duid,
        iaid,
        subnet: subnet.into(),
        state,
        since,
        expires,
    }))
}

#[cfg(test)]
mod tests {
    use crate::lease::{Imported, LeaseState, Networks, import_kea};

    const HEADER: &str = "address,duid,valid_lifetime,expire,subnet_id,pref_lifetime,lease_type,iaid,prefix_len,fqdn_fwd,fqdn_rev,hostname,hwaddr,state,user_context,hwtype,hwaddr_source,pool_id";

    fn import(lines: &[&str]) -> Imported {
        let networks = Networks {
            v4: Vec::new(),
            v6: vec![(
                "default/lab".to_owned(),
                "2001:db8:33::/64".parse().unwrap(),
            )],
        };
        import_kea(&format!("{HEADER}\n{}\n", lines.join("\n")), &networks)
    }

    #[test]
    fn reads_what_kea_writes() {
        let found = import(&[
            "2001:db8:33::1000,00:03:00:01:52:54:00:00:00:01,4000,1800004000,1,3000,0,7,128,0,0,node-7,52:54:00:00:00:01,0,,1,4,0",
            "2001:db8:33::1001,00:04:01:02,4000,1800004000,1,3000,0,258,128,0,0,,52:54:00:00:00:02,0,,1,2,0",
            "2001:db8:33::1002,00,86400,1800004000,1,0,0,0,128,0,0,,,1,,,,0",
            "2001:db8:33::1003,00:04:01:03,4000,1800004000,1,3000,0,1,128,0,0,,,0,,,,0",
            "2001:db8:33::1003,00:04:01:03,0,1800004000,1,3000,0,1,128,0,0,,,0,,,,0",
        ]);
        assert_eq!(found.problems, vec![]);
        let keys: Vec<_> = found.leases6.iter().map(|it| it.key.to_string()).collect();
        // What the DUID alone says may be another interface's.
        assert_eq!(
            keys,
            ["52:54:00:00:00:01", "id:0004010200000102", "id:0000000000"]
        );
        let [first, second, third] = found.leases6.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!((first.iaid, &*first.subnet), (7, "default/lab"));
        assert_eq!(
            (first.since.secs(), first.expires.secs()),
            (1_800_000_000, 1_800_004_000)
        );
        assert_eq!(second.mac.unwrap().to_string(), "52:54:00:00:00:02");
        assert_eq!(third.state, LeaseState::Declined);
    }

    #[test]
    fn bad_lines_are_named_and_the_good_ones_are_kept() {
        let good = "2001:db8:33::1000,00:04:01:02,4000,1800004000,1,3000,0,1,128,0,0,,,0,,,,0";
        let lines = [
            good.replace("::1000", "::g"),
            good.replace("33::", "44::"),
            good.replace("00:04:01:02", "00:04"),
            good.replace("00:04:01:02", "00:0x"),
            good.replace(",3000,0,", ",3000,2,"),
            good.replace(",0,1,128", ",0,x,128"),
            good.replace(",,0,,,,0", ",,4,,,,0"),
            good.to_owned(),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let found = import(&lines);
        let problems: Vec<_> = found.problems.iter().map(|p| (p.line, p.field)).collect();
        let want = [
            "address",
            "address",
            "duid",
            "duid",
            "lease_type",
            "iaid",
            "state",
        ];
        assert_eq!(problems, (2..).zip(want).collect::<Vec<_>>());
        assert_eq!(found.leases6.len(), 1);
    }
}
