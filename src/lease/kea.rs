//! Leases as Kea's memfile backend keeps them: a CSV file that is written like
//! a log, where the last line of an address counts. Pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::str::FromStr;

use super::record::{Lease, LeaseKey, LeaseState, MAX_CLIENT_ID, unhex};
use super::transfer::{Imported, LineProblem, subnet_of};
use crate::api::Cidr;
use crate::boot::MacAddress;
use crate::clock::Millis;

/// Columns that every version of the file has, and that we read.
const COLUMNS: [&str; 6] = [
    "address",
    "hwaddr",
    "client_id",
    "valid_lifetime",
    "expire",
    "hostname",
];

/// Absent in files of Kea 0.9, where every lease is in the default state.
const STATE: &str = "state";

type FieldProblem = (&'static str, String);

/// Where each column of this file is.
struct Columns(BTreeMap<String, usize>);

/// One line, by columns.
struct Row<'a> {
    columns: &'a Columns,
    fields: Vec<&'a str>,
}

/// Reads Kea's `kea-leases4.csv`. The Subnet of a lease is the one among
/// `subnets` (`namespace/name` and network) that has its address; Kea's own
/// numbers mean nothing here. A line that cannot be read costs only itself,
/// and a line with a lifetime of 0 says that the lease was deleted.
#[must_use]
pub fn import_kea(text: &str, subnets: &[(String, Cidr)]) -> Imported {
    let mut problems = Vec::new();
    let mut leases = BTreeMap::new();
    let mut lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let columns = match lines.next().map(|(_, header)| Columns::read(header)) {
        Some(Ok(columns)) => columns,
        Some(Err((field, message))) => {
            let line = 1;
            problems.push(LineProblem {
                line,
                field,
                message,
            });
            return Imported {
                leases: Vec::new(),
                problems,
            };
        }
        None => return Imported::default(),
    };
    for (index, line) in lines {
        let row = columns.row(line);
        match row.and_then(|row| Ok((row.parse("address")?, row.lease(subnets)?))) {
            Ok((_, Some(lease))) => {
                leases.insert(lease.address, lease);
            }
            Ok((address, None)) => {
                leases.remove(&address);
            }
            Err((field, message)) => problems.push(LineProblem {
                line: index + 1,
                field,
                message,
            }),
        }
    }
    Imported {
        leases: leases.into_values().collect(),
        problems,
    }
}

// === impl Columns ===

impl Columns {
    fn read(header: &str) -> Result<Self, FieldProblem> {
        let names = header.trim_end().split(',').map(str::to_owned);
        let columns: BTreeMap<String, usize> = names.zip(0..).collect();
        match COLUMNS
            .into_iter()
            .find(|name| !columns.contains_key(*name))
        {
            Some(missing) => Err((
                missing,
                "no such column: is this a lease file of Kea's DHCPv4?".to_owned(),
            )),
            None => Ok(Self(columns)),
        }
    }

    fn row<'a>(&'a self, line: &'a str) -> Result<Row<'a>, FieldProblem> {
        let fields: Vec<&str> = line.trim_end_matches('\r').split(',').collect();
        // Lines of an older Kea may end early: its columns come first.
        let needed = COLUMNS.iter().filter_map(|name| self.0.get(*name)).max();
        if fields.len() > self.0.len() || needed.is_some_and(|last| fields.len() <= *last) {
            let message = format!("{} fields, the header names {}", fields.len(), self.0.len());
            return Err(("line", message));
        }
        Ok(Row {
            columns: self,
            fields,
        })
    }
}

// === impl Row ===

impl Row<'_> {
    fn text(&self, name: &str) -> &str {
        let at = self.columns.0.get(name);
        at.and_then(|at| self.fields.get(*at))
            .copied()
            .unwrap_or_default()
    }

    fn parse<T: FromStr>(&self, name: &'static str) -> Result<T, FieldProblem> {
        let text = self.text(name);
        text.parse()
            .map_err(|_| (name, format!("`{text}` is not one")))
    }

    /// The lease of this line; `None` where it says that there is none.
    fn lease(&self, subnets: &[(String, Cidr)]) -> Result<Option<Lease>, FieldProblem> {
        let address: Ipv4Addr = self.parse("address")?;
        let valid: u32 = self.parse("valid_lifetime")?;
        let expire: u64 = self.parse("expire")?;
        let state = self.state()?;
        if valid == 0 {
            return Ok(None);
        }
        let since = expire
            .checked_sub(valid.into())
            .ok_or_else(|| ("expire", format!("`{expire}` is before the lease began")))?;
        let subnet = subnet_of(address, subnets)
            .ok_or_else(|| ("address", format!("`{address}` is in no Subnet")))?;
        let (mac, client_id) = (self.mac()?, self.client_id()?);
        let hostname = Some(unescape(self.text("hostname"))).filter(|name| !name.is_empty());
        Ok(Some(Lease {
            address,
            key: key(mac, client_id.as_deref(), state)?,
            mac,
            client_id: client_id.map(Vec::into_boxed_slice),
            subnet: subnet.into(),
            hostname: hostname.map(Into::into),
            state,
            since: Millis::from_secs(since),
            expires: Millis::from_secs(expire),
        }))
    }

    /// A hardware address of Ethernet's length; others (InfiniBand) are no
    /// use as a key.
    fn mac(&self) -> Result<Option<MacAddress>, FieldProblem> {
        let text = self.text("hwaddr");
        let bytes = unhex(text).ok_or_else(|| ("hwaddr", format!("`{text}` is not hex")))?;
        let mac = <[u8; 6]>::try_from(bytes).ok().map(MacAddress::new);
        Ok(mac.filter(|mac| mac.is_station()))
    }

    fn client_id(&self) -> Result<Option<Vec<u8>>, FieldProblem> {
        let text = self.text("client_id");
        let bytes = unhex(text).ok_or_else(|| ("client_id", format!("`{text}` is not hex")))?;
        if bytes.len() > MAX_CLIENT_ID {
            return Err(("client_id", format!("longer than {MAX_CLIENT_ID} bytes")));
        }
        Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    /// Reclaimed leases become released ones: kept for their machine.
    fn state(&self) -> Result<LeaseState, FieldProblem> {
        match self.text(STATE) {
            "" | "0" => Ok(LeaseState::Bound),
            "1" => Ok(LeaseState::Declined),
            "2" | "3" => Ok(LeaseState::Released),
            other => Err((STATE, format!("`{other}` is not 0, 1, 2 or 3"))),
        }
    }
}

/// Kea strips a declined lease of whom it belonged to; here the key of one
/// means nothing, so nobody's MAC will do.
fn key(
    mac: Option<MacAddress>,
    client_id: Option<&[u8]>,
    state: LeaseState,
) -> Result<LeaseKey, FieldProblem> {
    match (mac, client_id) {
        (Some(mac), _) => Ok(LeaseKey::Mac(mac)),
        (None, Some(id)) => Ok(LeaseKey::ClientId(id.into())),
        (None, None) if state == LeaseState::Declined => Ok(LeaseKey::Mac(MacAddress::new([0; 6]))),
        (None, None) => Err(("hwaddr", "neither a MAC address nor a client id".to_owned())),
    }
}

/// Undoes Kea's `&#x2c` for the characters that CSV cannot have.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut parts = text.split("&#x");
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let code = part
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (code, part.get(2..)) {
            (Some(code), Some(rest)) => {
                plain.push(char::from(code));
                plain.push_str(rest);
            }
            (None, _) | (_, None) => {
                plain.push_str("&#x");
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: &str = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id";

    #[test]
    fn reads_what_kea_writes() {
        let found = import(&[
            "10.33.1.100,52:54:00:00:00:01,01:52:54:00:00:00:01,4000,1800004000,1,0,0,node-7.example.net,0,,0",
        ]);
        assert_eq!(found.problems, vec![]);
        let lease = &found.leases[0];
        assert_eq!(lease.key.to_string(), "52:54:00:00:00:01");
        assert_eq!(lease.client_id, Some([1, 0x52, 0x54, 0, 0, 0, 1].into()));
        assert_eq!(&*lease.subnet, "default/lab");
        assert_eq!(lease.hostname.as_deref(), Some("node-7.example.net"));
        assert_eq!(lease.state, LeaseState::Bound);
        assert_eq!(
            (lease.since.secs(), lease.expires.secs()),
            (1_800_000_000, 1_800_004_000)
        );
    }

    #[test]
    fn later_lines_win_and_a_lifetime_of_zero_deletes() {
        let found = import(&[
            "10.33.1.1,52:54:00:00:00:01,,4000,1800004000,1,0,0,old,0,,0",
            "10.33.1.2,52:54:00:00:00:02,,4000,1800004000,1,0,0,,0,,0",
            "10.33.1.1,52:54:00:00:00:03,,4000,1800008000,1,0,0,new,0,,0",
            "10.33.1.2,52:54:00:00:00:02,,0,1800004000,1,0,0,,0,,0",
        ]);
        assert_eq!(found.problems, vec![]);
        let hosts: Vec<_> = found.leases.iter().map(|l| l.hostname.as_deref()).collect();
        assert_eq!(hosts, [Some("new")]);
    }

    #[test]
    fn states_and_escapes_are_understood() {
        let found = import(&[
            "10.33.1.1,,,86400,1800004000,1,0,0,,1,,0",
            "10.33.1.2,52:54:00:00:00:02,,4000,1800004000,1,0,0,a&#x2cb&#xzz,2,{ \"a\": 1&#x2c \"b\": 2 },0",
            "10.33.1.3,,ff:00:01,4000,1800004000,1,0,0,,0,,0",
        ]);
        assert_eq!(found.problems, vec![]);
        let states: Vec<_> = found.leases.iter().map(|l| l.state).collect();
        assert_eq!(
            states,
            [
                LeaseState::Declined,
                LeaseState::Released,
                LeaseState::Bound
            ]
        );
        assert_eq!(found.leases[1].hostname.as_deref(), Some("a,b&#xzz"));
        assert_eq!(found.leases[2].key.to_string(), "id:ff0001");
    }

    #[test]
    fn bad_lines_are_named_and_the_good_ones_are_kept() {
        let found = import(&[
            "10.33.1,52:54:00:00:00:01,,4000,1800004000,1,0,0,,0,,0",
            "10.33.1.1,52:54:zz,,4000,1800004000,1,0,0,,0,,0",
            "10.33.1.1,,,4000,1800004000,1,0,0,,0,,0",
            "10.33.1.1,52:54:00:00:00:01,,x,1800004000,1,0,0,,0,,0",
            "10.33.1.1,52:54:00:00:00:01,,4000,12,1,0,0,,0,,0",
            "10.33.1.1,52:54:00:00:00:01,,4000,1800004000,1,0,0,,7,,0",
            "192.0.2.1,52:54:00:00:00:01,,4000,1800004000,1,0,0,,0,,0",
            "10.33.1.1,52:54",
            "10.33.1.9,52:54:00:00:00:09,,4000,1800004000,1,0,0,good,0,,0",
        ]);
        let problems: Vec<_> = found.problems.iter().map(|p| (p.line, p.field)).collect();
        let want = [
            "address",
            "hwaddr",
            "hwaddr",
            "valid_lifetime",
            "expire",
            "state",
            "address",
            "line",
        ];
        assert_eq!(problems, (2..).zip(want).collect::<Vec<_>>());
        assert_eq!(found.leases.len(), 1);
    }

    #[test]
    fn files_of_older_versions_have_fewer_columns() {
        let text = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname\n10.33.1.1,52:54:00:00:00:01,,4000,1800004000,1,0,0,a\n";
        let found = import_kea(text, &subnets());
        assert_eq!((found.leases.len(), found.problems), (1, vec![]));
    }

    #[test]
    fn a_file_that_is_none_of_keas_is_told_so() {
        let found = import_kea(
            "1700000000 52:54:00:00:00:01 10.33.1.1 node *\n",
            &subnets(),
        );
        assert_eq!(
            (found.problems[0].line, found.problems[0].field),
            (1, "address")
        );
        assert_eq!(import_kea("", &subnets()), Imported::default());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(lines in prop::collection::vec("[0-9a-f:.,&#x{}é]{0,60}", 0..6)) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            import(&lines);
        }
    }

    fn import(lines: &[&str]) -> Imported {
        import_kea(&format!("{HEADER}\n{}\n", lines.join("\n")), &subnets())
    }

    fn subnets() -> Vec<(String, Cidr)> {
        vec![("default/lab".to_owned(), "10.33.0.0/16".parse().unwrap())]
    }
}
