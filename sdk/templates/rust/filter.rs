//! @NAME@: keeps endpoints where at most maxWaiting requests wait.

mod abi;
mod plugin;
#[cfg(test)]
mod testing;

use abi::epp_value;
use plugin::*;

struct @CLASS@ {
    max_waiting: i64,
}

impl Plugin for @CLASS@ {
    fn create(params: &[epp_value]) -> Result<Self, Failure> {
        // The host has checked type and range.
        let max_waiting = unsafe { params[0].v.i64_ };
        Ok(@CLASS@ { max_waiting })
    }
}

impl Filter for @CLASS@ {
    fn filter(&self, candidates: &Candidates, keep: &mut Keep) -> Result<(), Failure> {
        let waiting: &[i64] = unsafe { candidates.column(0) };
        for (row, waiting) in waiting.iter().enumerate() {
            if *waiting <= self.max_waiting {
                keep.set(row);
            }
        }
        Ok(())
    }
}

library! {
    library: "@NAME@",
    type_name: "@NAME@",
    doc: "@DOC@",
    plugin: @CLASS@,
    params: [int(c!("maxWaiting"), 8, 0.0, 1e6, c!("longest waiting queue that is kept, in requests"))],
    consumes: [needs(c!("WaitingQueueSize"), EPP_T_I64, c!("core-metrics-extractor"))],
    interfaces: [(EPP_FILTER_ID, epp_filter, filter_table::<@CLASS@>())],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn kept_of(max_waiting: i64, waiting: Vec<i64>) -> Vec<usize> {
        let filter = @CLASS@::create(&[i64_param(max_waiting)]).ok().unwrap();
        let n = waiting.len();
        with(n, &[Values::I64(waiting)], |candidates| {
            kept(n, |keep| filter.filter(candidates, keep).ok().unwrap())
        })
    }

    #[test]
    fn keeps_short_queues() {
        assert_eq!(kept_of(8, vec![8, 9, 0]), [0, 2]);
        assert_eq!(kept_of(0, vec![8, 9, 0]), [2]);
        assert!(kept_of(0, vec![]).is_empty());
    }

    #[test]
    fn keeps_beyond_one_word() {
        assert_eq!(kept_of(0, vec![0; 130]).len(), 130);
    }
}
