//! How much memory this process may have, where somebody has set a bound: by its cgroup, as `MemoryMax=` and containers
//! do, or by its own limits.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::process::{Resource, getrlimit};

/// Where cgroups are (`cgroups(7)`).
const MOUNT: &str = "/sys/fs/cgroup";

/// The lowest bound of what may be resident, in bytes; `None` where there is none, or none can be read.
pub(super) fn bound() -> Option<u64> {
    // These count what was asked for, of which buffers that grow by doubling use half.
    let limits = [Resource::Data, Resource::As].into_iter().filter_map(|resource| getrlimit(resource).current);
    let limits = limits.map(|bytes| bytes / 2);
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    limits.chain(of_cgroup(&membership, |path| fs::read_to_string(path).ok())).min()
}

/// The lowest bound of the cgroups that `membership` (`/proc/PID/cgroup`) names, and of those around them.
fn of_cgroup(membership: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let files = membership.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, group) = rest.split_once(':')?;
        // The second version has one hierarchy, and names no controllers.
        let (mount, file) = match controllers {
            "" => (PathBuf::from(MOUNT), "memory.max"),
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                (Path::new(MOUNT).join("memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let groups = Path::new(group).ancestors().map(|group| group.strip_prefix("/").unwrap_or(group));
        Some(groups.map(|group| mount.join(group).join(file)).collect::<Vec<_>>())
    });
    // Without a bound the file says "max", or a number that no machine has.
    files.flatten().filter_map(|file| read(&file)?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_bound_of_the_groups_around_counts() {
        let files = |path: &Path| {
            let content = match path.to_str()? {
                "/sys/fs/cgroup/user.slice/memory.max" => "1000000\n",
                "/sys/fs/cgroup/user.slice/proxy.service/memory.max" => "268435456\n",
                "/sys/fs/cgroup/system.slice/memory.max" => "max\n",
                "/sys/fs/cgroup/memory.max" | "/sys/fs/cgroup/memory/memory.limit_in_bytes" => "9223372036854771712\n",
                "/sys/fs/cgroup/memory/docker/memory.limit_in_bytes" => "5000\n",
                _ => return None,
            };
            Some(content.to_owned())
        };
        for (membership, expected) in [
            ("0::/user.slice/proxy.service\n", Some(1_000_000)),
            ("0::/system.slice\n", Some(9_223_372_036_854_771_712)),
            ("5:cpu,cpuacct:/\n4:blkio,memory:/docker\n0::/\n", Some(5000)),
            ("5:cpu:/docker\n", None),
            ("", None),
            ("nonsense", None),
        ] {
            assert_eq!(of_cgroup(membership, files), expected, "{membership:?}");
        }
    }
}
