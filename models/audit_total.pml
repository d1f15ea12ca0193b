/* audit_total.pml - the parts of an audit, its numbers and its ends: docs/PROTOCOL.md, section 9.  audit.pml asks what must be
 * withheld; this one has votes, FINISH, the cuts of several numbers and the settling that precedes a shard's answer.
 *
 * Two shards, NT transfers between them (-DLOCAL: the last one is inside shard 1, posted by its own entry), NA audits with the numbers 1 to NA at once, each run by somebody who may stop at any
 * step.  BARRIER(b) at a shard whose epoch is lower: the epoch becomes b, the cut is taken, it withholds, and a lower
 * number that it withheld for is void.  At a shard with that epoch or a higher one: void.  A shard may log VOID at any time (patience).
 * A vote carries the shard's epoch and is disclosed if it stands before the BARRIER that the shard withholds for, or it
 * withholds for none.  FINISH(commit) needs the other's disclosed vote; the commit epoch is the higher one of both; if it is above the
 * shard's own, that is advanced first, the cut taken, and a lower number void.
 * An audit: BARRIER to both; when both have applied it, CONFIRM of both (of the shard's log, not of a leader's memory);
 * then it is proven; RELEASE; COLLECT: what is P since before the cut is settled (finished, or the other shard is
 * at NONE now), and the part is what was posted at the cut and what was finished since with a lower commit epoch.
 *
 * Checked for a proven audit: a transfer is in both parts or in none; reported before the audit began => it is in; a reported before
 * b was first sent, and b is in => a is in.  At the end no shard withholds, and nothing is prepared.
 *
 * -DNOADVANCE: a FINISH does not advance the epoch.  This passes in all that was searched: as long as every shard withholds until
 * RELEASE, a commit epoch above the own one can reach a shard only after a VOID elsewhere, which makes CONFIRM fail.
 * Faulty: -DBUG_NOHOLD       votes are not withheld
 *         -DBUG_VOLATILE     a leader gives up in memory, and the next one confirms
 *         -DBUG_STALECONFIRM a deposed leader confirms what is void by now
 *         -DBUG_EARLYCONFIRM each shard is asked to confirm as soon as it has applied BARRIER, not when all have
 *         -DBUG_OLDEPOCH     votes after the BARRIER carry the epoch of before
 *         -DBUG_OWNEPOCH     the commit epoch is that of the shard's own vote
 *         -DBUG_NOSETTLE     a part is given without settling
 *         -DBUG_EARLYNONE    a NONE counts that was read when this shard took its cut, the other one may not have
 *         -DBUG_NOPATIENCE   a shard withholds until it is told otherwise
 */
#define NONE 0
#define P 1
#define C 2
#define A 3
#ifndef NT
#define NT 1
#endif
#ifndef NA
#define NA 2
#endif
byte st[2*NT], ve[2*NT], ce[2*NT];      /* per t*2+s: state, epoch of the vote, commit epoch */
bit yes[2*NT];                          /* the vote is disclosed */
bit sent[NT], rep[NT]; byte before[NT]; /* before: reported when this one was first sent */
byte ep[2], hold[2];                    /* per shard: epoch, number that it withholds for */
byte posted[2*(NA+1)];                  /* per number*2+s: posted at the cut */
bit took[2*(NA+1)];                     /* ... its BARRIER was applied and taken */
#ifdef BUG_VOLATILE
bit gave[2];
#endif
#ifdef BUG_EARLYNONE
byte absent[2*(NA+1)];
#endif
#if NT==1
#define SET(p) (p(0))
#else
#define SET(p) (p(0) | p(1)<<1)
#endif
#define ISREP(t) rep[t]
#define ISPOSTED(t) (st[(t)*2+s]==C)
#define OTHERNONE(t) (st[(t)*2+1-s]==NONE)
/* finished since with a lower commit epoch, or posted at the cut */
#define ISIN(t) ((posted[b*2+s]>>(t) & 1) || (st[(t)*2+s]==C && ce[(t)*2+s] < b))

#ifdef REACH1
#define REACH (m && (m & ~posted[b*2]))                      /* contained, and posted after the cut */
#endif
#ifdef REACH2
#define REACH (b==2 && took[2] && hold[0]!=1 && m)           /* the second number, after the first was begun */
#endif
#ifdef REACH3
#define REACH (NT>1 && before[1] && (m1 & 1) && !(m1 & 2))         /* LOCAL: the earlier one is in, the later one is not */
#endif
#ifdef REACH
bit probe;
#endif

#ifdef LOCAL
#define CROSS ((1<<(NT-1))-1)
#define FOREIGN(t) ((t) < NT-1)
#define VOTED(t,s) (yes[(t)*2+s] || ((t)==NT-1 && s==0))
#else
#define CROSS 255
#define FOREIGN(t) true
#define VOTED(t,s) yes[(t)*2+s]
#endif

inline cut(n) { ep[s] = n; posted[n*2+s] = SET(ISPOSTED) }

inline voted() { if :: FOREIGN(t) -> st[t*2+s] = P :: else -> st[t*2+s] = C; ce[t*2+s] = ve[t*2+s] fi }
proctype Shard(byte s; byte t) {
end: do
#ifdef BUG_OLDEPOCH
  :: atomic { sent[t] && st[t*2+s]==NONE -> ve[t*2+s] = (hold[s] -> ep[s]-1 : ep[s]); voted() }
#else
  :: atomic { sent[t] && st[t*2+s]==NONE -> ve[t*2+s] = ep[s]; voted() }
#endif
  :: atomic { (st[t*2+s]==P || st[t*2+s]==C) && !yes[t*2+s] &&
#if defined(BUG_NOHOLD)
       true
#elif defined(BUG_VOLATILE)
       (!hold[s] || ve[t*2+s] < hold[s] || gave[s])
#else
       (!hold[s] || ve[t*2+s] < hold[s])
#endif
       -> yes[t*2+s] = 1 }
  :: atomic { st[t*2+s]==P && yes[t*2+1-s] -> d_step {                               /* FINISH(commit) */
       ce[t*2+s] = (ve[t*2+s] > ve[t*2+1-s] -> ve[t*2+s] : ve[t*2+1-s]);
#ifdef BUG_OWNEPOCH
       ce[t*2+s] = ve[t*2+s];
#endif
#ifndef NOADVANCE
       if :: ce[t*2+s] > ep[s] -> cut(ce[t*2+s]); hold[s] = 0 :: else -> skip fi;
#endif
       st[t*2+s] = C } }
  :: atomic { FOREIGN(t) && st[t*2+s]==P && st[t*2+1-s]==NONE -> st[t*2+1-s] = A; st[t*2+s] = A }  /* poisoned, and FINISH(abort) */
  :: atomic { st[t*2+s]==P && st[t*2+1-s]==A -> st[t*2+s] = A }
  od }
proctype Patience(byte s) {
end: do
#ifdef BUG_VOLATILE
  :: atomic { hold[s] && !gave[s] -> gave[s] = 1 }
  :: atomic { hold[s] && gave[s] -> hold[s] = 0; gave[s] = 0 }
  :: atomic { !hold[s] && gave[s] -> gave[s] = 0 }
#elif !defined(BUG_NOPATIENCE)
  :: atomic { hold[s] -> hold[s] = 0 }                                               /* VOID */
#else
  :: false
#endif
  od }
proctype Client(byte t) {
  atomic { before[t] = SET(ISREP); sent[t] = 1 };
  if
  :: atomic { VOTED(t,0) && VOTED(t,1) -> rep[t] = 1 }
  :: true                                                                            /* dies */
  fi }

inline barrier(x) {
  atomic {
    s = x;
    if
    :: b > ep[s] ->
       d_step { cut(b); hold[s] = b; took[b*2+s] = 1;
#ifdef BUG_EARLYNONE
       absent[b*2+s] = SET(OTHERNONE);
#endif
       s = 0 }
    :: else -> goto dead                                                             /* void */
    fi } }
#ifdef BUG_STALECONFIRM
#define HOLDS(x) took[b*2+(x)]
#else
#define HOLDS(x) (hold[x]==b)
#endif
inline confirm(x) { atomic { HOLDS(x) -> skip } }
inline release(x) { atomic { if :: hold[x]==b -> hold[x] = 0 :: else -> skip fi } }
#if defined(BUG_NOSETTLE)
#define SETTLED(t) true
#elif defined(BUG_EARLYNONE)
#define SETTLED(t) (st[(t)*2+s]!=P || ve[(t)*2+s] >= b || (absent[b*2+s]>>(t) & 1))
#else
#define SETTLED(t) (st[(t)*2+s]!=P || ve[(t)*2+s] >= b || OTHERNONE(t))
#endif
#if NT==1
#define ALLSETTLED SETTLED(0)
#else
#define ALLSETTLED (settled==3)
#endif
/* each is settled at an instant of its own */
inline collect(x, to) {
  s = x;
#if NT==1
  atomic { SETTLED(0) -> d_step { to = SET(ISIN); s = 0 } }
#else
  do
  :: atomic { !(settled & 1) && SETTLED(0) -> settled = settled | 1 }
  :: atomic { !(settled & 2) && SETTLED(1) -> settled = settled | 2 }
  :: atomic { settled==3 -> d_step { to = SET(ISIN); s = 0; settled = 0 }; break }
  od
#endif
}

proctype Audit(byte b) {
  byte pre, m, m1, s, settled;
  atomic { true -> pre = SET(ISREP) };
#ifdef BUG_EARLYCONFIRM
  if
  :: true -> barrier(0); if :: confirm(0) :: goto dead fi; barrier(1); if :: confirm(1) :: goto dead fi
  :: true -> barrier(1); if :: confirm(1) :: goto dead fi; barrier(0); if :: confirm(0) :: goto dead fi
  fi;
#else
  if
  :: true -> barrier(0); barrier(1)
  :: true -> barrier(1); barrier(0)
  :: true -> barrier(0); goto dead
  :: true -> barrier(1); goto dead
  fi;
  if :: confirm(0) :: goto dead fi;
  if :: confirm(1) :: goto dead fi;
#endif
  /* proven */
  release(0); release(1);
  collect(0,m); collect(1,m1);
  atomic { true -> d_step {
    assert(m==(m1 & CROSS));                                                         /* in both or in none */
    assert((pre & ~m1)==0);
    assert(!(m1 & 1) || (before[0] & ~m1)==0);
#if NT>1
    assert(!(m1 & 2) || (before[1] & ~m1)==0);
#endif
#ifdef REACH
    probe = (REACH); assert(!probe);
#endif
    skip } };
  goto dead;
dead:
  atomic { pre = 0; m = 0; m1 = 0; s = 0; settled = 0 }
}
active proctype Monitor() {
  byte i;
  timeout ->
  d_step {
    assert(!hold[0] && !hold[1]);
    do :: i < 2*NT -> assert(st[i]!=P); i++ :: else -> break od }
}
init { byte i; atomic {
  do :: i < NT -> if :: FOREIGN(i) -> run Shard(0,i) :: else -> skip fi; run Shard(1,i); run Client(i); i++ :: else -> break od;
  run Patience(0); run Patience(1);
  i = 1;
  do :: i <= NA -> run Audit(i); i++ :: else -> break od; i = 0 } }
