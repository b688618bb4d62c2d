//! How much memory this process has, and how much the machine lets it have.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::ByteSize;

/// The resident size of this process, from `/proc/self/statm`.
#[derive(Debug)]
pub struct ResidentSize {
    statm: Option<File>,
    page_bytes: u64,
}

impl ResidentSize {
    /// Opens the file once; a read then costs about a microsecond.
    pub fn open() -> Self {
        Self { statm: File::open("/proc/self/statm").ok(), page_bytes: 4096 }
    }

    /// Bytes resident now; 0 where the system does not tell.
    pub fn bytes(&self) -> u64 {
        let Some(statm) = &self.statm else { return 0 };
        let mut buffer = [0u8; 128];
        let read = statm.read_at(&mut buffer, 0).unwrap_or(0);
        std::str::from_utf8(&buffer[..read])
            .ok()
            .and_then(|line| line.split_ascii_whitespace().nth(1))
            .and_then(|pages| pages.parse::<u64>().ok())
            .unwrap_or(0)
            * self.page_bytes
    }
}

/// The memory that this machine, or the control group this process lives in, allows.
pub fn machine_limit() -> ByteSize {
    let total = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
            line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .map_or(u64::MAX, |kib| kib * 1024);
    let control_group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok())
        .unwrap_or(u64::MAX);
    ByteSize(total.min(control_group))
}

/// Keeps the kernel from backing the heap by pages of 2 MB, from now on. A few bytes in use then hold a whole page, which
/// took a quarter of a small cap; TPC-H at SF 1 is a tenth faster without them.
pub fn use_small_pages() {
    // SAFETY: PR_SET_THP_DISABLE takes no pointers and changes nothing but how memory is backed. Where it is not known
    // nothing changes.
    #[allow(unsafe_code)]
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
}

/// Gives memory that the allocator keeps for later, of every thread, back to the system.
pub fn release_free_memory() {
    // All arenas: `MALLCTL_ARENAS_ALL` of jemalloc's manual.
    control(c"arena.4096.purge");
}

/// The same for what was not used for some seconds. Threads do so for themselves while they allocate; nobody does for one
/// that has fallen idle.
pub fn release_idle_memory() {
    control(c"arena.4096.decay");
}

fn control(name: &std::ffi::CStr) {
    // SAFETY: the name is a C string, and this call neither reads nor writes a value. In a process that does not
    // allocate by jemalloc it finds nothing to release.
    #[allow(unsafe_code)]
    unsafe {
        tikv_jemalloc_sys::mallctl(
            name.as_ptr(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            0,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_resident_and_the_machine_has_a_limit() {
        assert!(ResidentSize::open().bytes() > ByteSize::MIB);
        assert!(machine_limit().0 > ByteSize::GIB / 2);
    }
}
