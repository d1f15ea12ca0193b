/* audit.pml - the cross-shard snapshot (barrier + held acknowledgements): docs/PROTOCOL.md, section 9.
 * Three operations: X on shard 0 only, Y on shard 1 only, W across both.  One audit.
 * A shard's log is cut by barrier 1 into epoch 0 and epoch 1; every applied vote/commit carries its epoch, the commit
 * epoch is the maximum over participants; the audit includes exactly what has commit epoch 0.
 * While a shard "holds", replies for entries of epoch 1 are withheld; it may give up the hold at any time (time-out,
 * leader change): then the audit is void and returns nothing.
 * Checked at quiescence for a valid audit: acknowledged, or seen by a finished read, before the audit began => included;
 * o1 acknowledged before o2 was submitted and o2 included => o1 included   (= strict serializability of the snapshot);
 * W is in on both sides or on none.      Faulty: -DBUG_NOHOLD -DBUG_IGNOREVOID -DBUG_LOCALCUT
 * -DBUG_READLEAK (plain reads are not held) -DBUG_INQLEAK (inquiry answers are not held)
 *
 * -DFOLLOWER adds a follower of shard 1 that applies the shard's log in order and late, and answers stale reads and the
 * other shard's inquiries from what it has applied.  It withholds from applying BARRIER until applying VOID or RELEASE.
 * Faulty, with FOLLOWER: -DBUG_FOLLOWER (only the leader withholds) -DBUG_FOLLOWERPATIENCE (the follower gives up its hold
 * by its own timer, without a log entry).
 * -DNOX -DNOY -DNOW leave an operation out, for a smaller search.
 */
#define X 0
#define Y 1
#define W 2
bit ep[2], hold[2], broke[2], ok[2], passed[2];
bit start[3], acked[3], pre[3], seen[3];   /* seen: a plain read that saw the operation has returned */
bit rt[9];                    /* rt[a*3+b]: a was acknowledged before b was submitted */
bit app[6], ve[6], rdy[6];    /* per op*2+shard: applied, epoch of the vote, reply sent */
bit begun, valid, fini;

#define KNOWN(o) (acked[o] || seen[o])
inline submit(o) { d_step { start[o] = 1; rt[0*3+o] = KNOWN(0); rt[1*3+o] = KNOWN(1); rt[2*3+o] = KNOWN(2) } }

#ifdef BUG_NOHOLD
#define MAYREPLY(o,s) (app[(o)*2+s])
#else
#define MAYREPLY(o,s) (app[(o)*2+s] && (ve[(o)*2+s]==0 || !hold[s]))
#endif
#ifdef BUG_READLEAK
#define READGATE(o,s) (app[(o)*2+s])
#else
#define READGATE(o,s) MAYREPLY(o,s)
#endif
#ifdef BUG_INQLEAK
#define INQGATE(o,s) (app[(o)*2+s])
#else
#define INQGATE(o,s) MAYREPLY(o,s)
#endif

#ifdef FOLLOWER
bit fapp[3], fbar, frel;      /* what shard 1's follower has applied: operations, BARRIER, VOID or RELEASE */
#ifdef BUG_FOLLOWER
#define FGATE(o) (fapp[o])
#else
#define FGATE(o) (fapp[o] && (ve[(o)*2+1]==0 || frel))
#endif
/* log order: epoch 0 before BARRIER, epoch 1 after it */
#define FNEXT(o) (app[(o)*2+1] && !fapp[o] && ve[(o)*2+1]==fbar)
#define FCAUGHT(o) (fapp[o] || !app[(o)*2+1] || ve[(o)*2+1]==1)
active proctype Follower() {
end:
  do
  :: atomic { FNEXT(Y) -> fapp[Y] = 1 }
  :: atomic { FNEXT(W) -> fapp[W] = 1 }
  :: atomic { passed[1] && !fbar && FCAUGHT(Y) && FCAUGHT(W) -> fbar = 1 }
  :: atomic { fbar && !frel && !hold[1] -> frel = 1 }                                  /* shard 1 has logged VOID or RELEASE */
#ifdef BUG_FOLLOWERPATIENCE
  :: atomic { fbar && !frel -> frel = 1 }
#endif
  od
}
#endif

active proctype Clients() {
end:
  do
#ifndef NOX
  :: atomic { !start[X] -> submit(X) }
#endif
#ifndef NOY
  :: atomic { !start[Y] -> submit(Y) }
#endif
#ifndef NOW
  :: atomic { !start[W] -> submit(W) }
#endif
#ifdef FOLLOWER
  :: atomic { !seen[Y] && FGATE(Y) -> seen[Y] = 1 }
  :: atomic { !seen[W] && FGATE(W) && INQGATE(W,0) -> seen[W] = 1 }
  :: atomic { !seen[W] && READGATE(W,0) && FGATE(W) -> seen[W] = 1 }
#endif
  /* plain reads, on shard 0 (X, W) and shard 1 (Y, W); seeing W needs the other shard's answer to the inquiry */
  :: atomic { !seen[X] && READGATE(X,0) -> seen[X] = 1 }
  :: atomic { !seen[Y] && READGATE(Y,1) -> seen[Y] = 1 }
  :: atomic { !seen[W] && READGATE(W,0) && INQGATE(W,1) -> seen[W] = 1 }
  :: atomic { !seen[W] && READGATE(W,1) && INQGATE(W,0) -> seen[W] = 1 }
  :: atomic { !acked[X] && rdy[X*2+0] -> acked[X] = 1 }
  :: atomic { !acked[Y] && rdy[Y*2+1] -> acked[Y] = 1 }
  :: atomic { !acked[W] && rdy[W*2+0] && rdy[W*2+1] -> acked[W] = 1 }
  od
}
proctype Shard(byte s) {
end:
  do
  :: atomic { start[s] && !app[s*2+s] -> app[s*2+s] = 1; ve[s*2+s] = ep[s] }          /* X on 0, Y on 1 */
  :: atomic { start[W] && !app[W*2+s] -> app[W*2+s] = 1; ve[W*2+s] = ep[s] }
  :: atomic { !rdy[s*2+s] && MAYREPLY(s,s) -> rdy[s*2+s] = 1 }
  :: atomic { !rdy[W*2+s] && MAYREPLY(W,s) -> rdy[W*2+s] = 1 }
  :: atomic { hold[s] && !broke[s] -> hold[s] = 0; broke[s] = 1 }                      /* hold lost */
  od
}
active proctype Audit() {
  atomic { begun = 1; pre[0] = KNOWN(0); pre[1] = KNOWN(1); pre[2] = KNOWN(2) }
  do
  :: atomic { !passed[0] -> passed[0] = 1; ep[0] = 1; hold[0] = 1 }
  :: atomic { !passed[1] -> passed[1] = 1; ep[1] = 1; hold[1] = 1 }
  :: passed[0] && passed[1] -> break
  od;
  atomic { ok[0] = hold[0]; hold[0] = 0 }        /* release, in either order by symmetry of X and Y */
  atomic { ok[1] = hold[1]; hold[1] = 0 }
#ifdef BUG_IGNOREVOID
  valid = 1;
#else
  valid = ok[0] && ok[1];
#endif
  fini = 1
}
#ifdef BUG_LOCALCUT
#define INW (app[W*2+0] && ve[W*2+0]==0)                      /* each shard cuts by its own log only */
#define INW1 (app[W*2+1] && ve[W*2+1]==0)
#else
#define INW (app[W*2+0] && app[W*2+1] && ve[W*2+0]==0 && ve[W*2+1]==0)
#define INW1 INW
#endif
#ifdef REACH1
#define REACH (INX && INY && INW)
#endif
#ifdef REACH2
#define REACH (INX && !INY && !INW && rt[X*3+Y])
#endif
#ifdef REACH3
#define REACH (seen[W] && !INW && fapp[W] && ve[W*2+1]==1 && frel)       /* FOLLOWER: shown after the hold, excluded */
#endif
#define INX (app[X*2+0] && ve[X*2+0]==0)
#define INY (app[Y*2+1] && ve[Y*2+1]==0)
#ifdef REACH
bit probe;
#endif
active proctype Monitor() {
  timeout ->
  if
  :: valid ->
     assert(!pre[X] || INX); assert(!pre[Y] || INY); assert(!pre[W] || INW);
     assert(INW == INW1);
     assert(!(rt[X*3+Y] && INY) || INX); assert(!(rt[Y*3+X] && INX) || INY);
     assert(!(rt[X*3+W] && INW) || INX); assert(!(rt[Y*3+W] && INW) || INY);
     assert(!(rt[W*3+X] && INX) || INW); assert(!(rt[W*3+Y] && INY) || INW);
#ifdef REACH
     probe = (REACH); assert(!probe)
#endif
  :: else -> skip
  fi
}
init { atomic { run Shard(0); run Shard(1) } }
