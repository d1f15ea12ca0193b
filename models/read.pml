/* read.pml - strong reads of one account per shard, against implicit commit: docs/PROTOCOL.md, section 7.
 * NT transfers, each between shard 0 and shard 1; -DINTRA: the last one is local to shard 0 (posted by its own entry).
 * NRD readers, each on either shard; -DONESHARD: all on shard 0.
 *
 * Rule checked (default):
 *   a. at the read point the reader keeps what is posted, and U = the transfers prepared there;
 *   b. each of U ends for it in one of two ways.  FINISH is applied here: shown if it was committed.  Or a linearizable
 *      NONE of the other shard arrives, asked for after the point: left out for good, even if it is posted later;
 *   c. either event ends the transfer for every reader that waits on it (and began before the question was asked);
 *   d. the answer is what was posted at the point, and those of U that are shown by b.  Nothing else.
 *
 * Checked: V  - success reported, or seen by a read that has returned, before this read began => this read sees it;
 *          RT - success of a reported, or seen, before b was first sent => no read sees b without a;
 *          CH - two reads of the same shard never disagree on order: what they saw is comparable by inclusion;
 *          NA - nobody ever sees a transfer that aborts; and every reader gets its answer (no invalid end state).
 * Why it holds: put every read at its point, and a transfer at its commit point, or at the point of the first read that
 * shows it though it was pending there, if that is earlier.  A read with a later point shows it: if it began after the commit
 * point no NONE can come any more, and otherwise, by c, it did not learn of a NONE without the first one learning of it too.
 *
 * Faulty: -DBUG_POSTED    posted at the read point, nobody is asked
 *         -DBUG_STALE     a lagging replica answers the inquiry
 *         -DBUG_FIRSTRULE each of U is decided from the inquiry alone, FINISH is not awaited (passes with one transfer)
 *         -DBUG_CURRENT   b, then the answer is what is posted at that time
 *         -DBUG_LATER     one that was found undecided is shown if it is posted by the time of the answer
 *         -DBUG_OWNASK    each reader asks for itself: without c
 *         -DBUG_EARLYASK  a NONE counts though it was asked for before the read began
 */
#define NONE 0
#define P 1
#define C 2
#define A 3
#ifndef NT
#define NT 2
#endif
#ifndef NRD
#define NRD 2
#endif
byte st[2*NT]; bit sent[2*NT], inq[2*NT];
bit rep[NT], seen[NT];
byte before[NT];       /* the transfers acknowledged, or seen by a finished read, when this one was first sent */
byte got[2];           /* per shard the answers given: bit m stands for the set m */
byte shown[NRD];       /* what a reader will show */
byte open[2*NT];       /* per transfer and shard the readers that wait on it */
byte none[2*NT];       /* answers NONE under way: bit n was asked for when n was the last of the readers that waited */
byte point[2];         /* per shard how many readers have taken their point; readers of a shard take it in order */
#ifdef BUG_STALE
byte old[2*NT];
#define OTHER(t,s) old[(t)*2+1-(s)]
#define LAG(x) old[x] = st[x];
#else
#define OTHER(t,s) st[(t)*2+1-(s)]
#define LAG(x)
#endif
#define VOTED(x) (st[x]==P || st[x]==C)
#define KNOWN(t) (rep[t] || seen[t])
#if NT==1
#define SET(p) (p(0))
#elif NT==2
#define SET(p) (p(0) | p(1)<<1)
#else
#define SET(p) (p(0) | p(1)<<1 | p(2)<<2)
#endif
#define ISPOSTED(t) (st[(t)*2+s]==C)
#define ISPENDING(t) (st[(t)*2+s]==P)
#define ISOPEN(t) ((open[(t)*2+s] & 1<<n) != 0)
#ifdef INTRA
#define MINE ((s)==0 -> 255 : (1<<(NT-1))-1)        /* a local transfer is none of shard 1's */
#else
#define MINE 255
#endif
#ifdef BUG_EARLYASK
#define COVERS(n) 255
#elif defined(BUG_OWNASK)
#define COVERS(n) (1<<(n))
#else
#define COVERS(n) ((2<<(n))-1)
#endif

/* probes, at the answer: */
#ifdef REACH1
#define REACH (u & shown[n] && SET(ISPOSTED) & ~shown[n] & ~u)       /* shows what was pending, leaves out what came later */
#endif
#ifdef REACH2
#define REACH (u & ~shown[n] & SET(ISPOSTED) & SET(KNOWN))           /* leaves out one that is posted and acknowledged by now */
#endif
#ifdef REACH
bit probe;
#endif

/* FINISH is applied: for all that wait */
inline finish(x, to) {
  st[x] = to;
  i = 0;
  do
  :: i < NRD ->
     if :: to==C && (open[x] & 1<<i) -> shown[i] = shown[i] | 1<<t :: else -> skip fi; i++
  :: else -> break
  od;
  i = 0; open[x] = 0; none[x] = 0
}
#define X (t*2+s)
#define Y (t*2+1-s)
proctype Shard(byte t; byte s) {
  byte i;
end: do
  :: atomic { sent[X] && st[X]==NONE -> LAG(X) st[X] = P }
  :: atomic { inq[X] && st[X]==NONE -> LAG(X) st[X] = A }
  :: atomic { st[X]==P && VOTED(Y) -> d_step { finish(X,C) } }
  :: atomic { st[X]==P && st[Y]==A -> d_step { finish(X,A) } }
  :: atomic { st[X]==P && !inq[Y] -> inq[Y] = 1 }
#ifdef BUG_STALE
  :: atomic { old[X] != st[X] -> LAG(X) }
#endif
  od }

/* The leader of shard s asks for those that wait on transfer t. */
proctype Asker(byte t; byte s) {
  byte n;
end: do
#ifdef BUG_OWNASK
  :: atomic { OTHER(t,s)==NONE && (open[X] & ~none[X]) ->
       if :: open[X] & ~none[X] & 1 -> n = 0 :: open[X] & ~none[X] & 2 -> n = 1 :: open[X] & ~none[X] & 4 -> n = 2 fi;
#else
  :: atomic { OTHER(t,s)==NONE && open[X] ->
       if :: open[X] & 4 -> n = 2 :: else -> if :: open[X] & 2 -> n = 1 :: else -> n = 0 fi fi;
#endif
       none[X] = none[X] | 1<<n; n = 0 }
  :: atomic { none[X] ->
       if :: none[X] & 1 -> n = 0 :: none[X] & 2 -> n = 1 :: none[X] & 4 -> n = 2 fi;
       none[X] = none[X] & ~(1<<n); open[X] = open[X] & ~COVERS(n);
       if :: open[X]==0 -> none[X] = 0 :: else -> skip fi; n = 0 }
#ifdef BUG_FIRSTRULE
  :: atomic { (OTHER(t,s)==P || OTHER(t,s)==C) && open[X] ->
       if :: open[X] & 1 -> n = 0 :: open[X] & 2 -> n = 1 :: open[X] & 4 -> n = 2 fi;
       shown[n] = shown[n] | 1<<t; open[X] = open[X] & ~(1<<n); n = 0 }
#endif
  od }

inline first(t) { if :: !sent[t*2] && !sent[t*2+1] -> before[t] = SET(KNOWN) :: else -> skip fi }
proctype Client(byte t) {
  do
  :: atomic { !sent[t*2] -> first(t); sent[t*2] = 1 }
  :: atomic { !sent[t*2+1] -> first(t); sent[t*2+1] = 1 }
  :: atomic { VOTED(t*2) && VOTED(t*2+1) -> rep[t] = 1; break }
  :: true -> break                                            /* dies */
  od }
/* Sent and applied in one step: what is known before it was sent could only be less otherwise. */
proctype Local(byte t) {
  atomic { before[t] = SET(KNOWN); st[t*2] = C };
  if :: atomic { true -> rep[t] = 1 } :: true fi }

/* no: this reader's place among those of its shard */
proctype Reader(byte n; byte s; byte no) {
  byte must, u, i;
  atomic {
    point[s]==no -> point[s] = no+1;
    must = SET(KNOWN) & MINE; shown[n] = SET(ISPOSTED);                /* the read point */
#ifndef BUG_POSTED
    u = SET(ISPENDING);
#endif
    i = 0;
    do
    :: i < NT -> if :: u & 1<<i -> open[i*2+s] = open[i*2+s] | 1<<n :: else -> skip fi; i++
    :: else -> break
    od;
    i = 0;
    if :: u -> skip :: else -> goto answer fi
  };
  !SET(ISOPEN);
answer:
  atomic { true -> d_step {
#if defined(BUG_CURRENT)
    shown[n] = (u -> SET(ISPOSTED) : shown[n]);
#elif defined(BUG_LATER)
    shown[n] = shown[n] | (u & SET(ISPOSTED));
#endif
    assert((must & ~shown[n]) == 0);                                     /* V */
    do
    :: i < NT ->
       if
       :: shown[n] & 1<<i ->
          assert((before[i] & MINE & ~shown[n]) == 0);                   /* RT */
          seen[i] = 1;
          assert(st[i*2]!=A && st[i*2+1]!=A)                             /* NA */
       :: else -> skip
       fi; i++
    :: else -> break
    od;
    i = 0;
    do
    :: i < (1<<NT) -> assert(!(got[s] & 1<<i) || (i & shown[n])==shown[n] || (i & shown[n])==i); i++      /* CH */
    :: else -> break
    od;
    got[s] = got[s] | 1<<shown[n];
#ifdef REACH
    probe = (REACH); assert(!probe);
#endif
    must = 0; u = 0; shown[n] = 0; i = 0 }
  }
}
init { byte i, s; byte no[2]; atomic {
#ifdef INTRA
  run Local(NT-1); i = 1;
#endif
  do
  :: i < NT -> run Shard(NT-1-i,0); run Shard(NT-1-i,1); run Client(NT-1-i); run Asker(NT-1-i,0);
#ifndef ONESHARD
     run Asker(NT-1-i,1);
#endif
     i++
  :: else -> break
  od;
  i = 0;
  do
  :: i < NRD ->
#ifndef ONESHARD
     if :: true -> skip :: s==0 -> s = 1 fi;                          /* readers of shard 0 first: they are alike */
#endif
     run Reader(i,s,no[s]); no[s]++; i++
  :: else -> break
  od;
  i = 0; s = 0; no[0] = 0; no[1] = 0 } }
