/* cancel.pml - CANCEL(id) of an id of which nobody knows the content: docs/PROTOCOL.md, section 3.
 *
 * One id, two contents under it (its owner used it twice, or lies), every shard of the bank.  A canceller asks all shards
 * (STATUS).  If some shard holds records it settles those contents (poison to their participants).  If none does it writes
 * the wildcard tombstone on EVERY shard, one log entry each, racing with late PREPAREs of both contents; a shard that knows
 * the id by then answers what it has.  It reports "aborted, whatever the content" once every shard said ABORTED, starts
 * over if some shard turned out to hold records, and may die at any step; a second canceller may run at once or later.
 *
 * Answers are permanent facts, so "has received them" is the same as "looks now" (as in commit.pml).  A message that is lost
 * is one that was never sent.
 *
 * -DRESOLVE the last canceller is a resolve instead: it writes a wildcard only if it has found a tombstone, of whatever content and
 * wherever, and completes it on every shard as a cancel does; if nobody knows the id it says "not found".  With this option both
 * go on without the shards that are silent once another one has shown a content, and report at once if every STATUS shows a
 * tombstone.  -DSTRAY cancellers that died long ago: wildcards on any shards, at any time.
 *
 * Shards and contents: default 3 shards, {0,1} and {1,2}; -DSAMEP 2 shards, both contents on {0,1};
 * -DDISJOINT 4 shards, {0,1} and {2,3} (two transfers under one id: both may commit, and a report is about both).
 * -DNCAN=2 a second canceller; -DPATIENT content 1's client has no deadline (a smaller search).
 *
 * Checked: per content atomicity; a report of a client or of a canceller is final; nothing stays prepared for ever; resolve
 * does not say "not found" of what somebody reported before it began.
 * Faulty:
 *   -DBUG_SOMESHARDS  reports when the first shard has the wildcard; with RESOLVE: resolve reports "aborted" if those that have answered
 *                     its STATUS show a tombstone, and "not found" if they do not know the id, and others are silent
 *   -DBUG_STATUSONLY  nobody knows the id, so reports at once, without any tombstone
 *   -DBUG_ANYTOMB     takes one shard's tombstone of ONE content for an abort of all contents; with RESOLVE: resolve believes a
 *                     tombstone that it finds alone, which may be a bystander's, and does not complete it
 *   -DBUG_OVERVOTE    CANCEL turns a vote into the wildcard
 *   -DBUG_WILDMISS    the wildcard does not answer for a content: a late PREPARE still votes
 *   -DBUG_BYSTANDER   a prepared shard believes a wildcard of a shard outside its P
 */
#define NONE 0
#define P 1
#define C 2
#define A 3            /* refused or undone: the shard holds the records */
#define T 4            /* tombstone of one content: the shard knows its digest only */
#define W 5            /* wildcard tombstone */

#if defined(DISJOINT)
#define N 4
#define FIRST(k) ((k)*2)
#elif defined(SAMEP)
#define N 2
#define FIRST(k) 0
#else
#define N 3
#define FIRST(k) (k)
#endif
#define SECOND(k) (FIRST(k)+1)
#define FULL ((1<<N)-1)
#ifndef NCAN
#define NCAN 1
#endif

byte st[N], ct[N];     /* replicated: the state of the id, and the content that it is about */
bit prep[2*N];         /* PREPARE(k) is under way to shard s */
bit pois[2*N];         /* INQUIRE(k, poison) is under way to shard s */
byte rep[2];           /* what content k's client told its user: 0 nothing, 1 OK, 2 FAILED */
byte crep[2];          /* what a canceller told its user of content k */
bit all;               /* a canceller told its user: aborted, whatever the content */

#define VOTED(s,k) ((st[s]==P || st[s]==C) && ct[s]==k)
#define GONE(s) (st[s]>=A)
/* what shard s answers about content k: another content under the id counts as ABORTED for the asked one */
#define NO(s,k) (GONE(s) || (st[s]!=NONE && ct[s]!=k))
#define ALLYES(k) (VOTED(FIRST(k),k) && VOTED(SECOND(k),k))
#define ANYNO(k) (NO(FIRST(k),k) || NO(SECOND(k),k))
#define HOLDS(s) (st[s]>=P && st[s]<=A)
#define DONE(k) ((st[FIRST(k)]==C && ct[FIRST(k)]==k) || (st[SECOND(k)]==C && ct[SECOND(k)]==k))
#ifdef BUG_WILDMISS
#define OPEN(s) (st[s]==NONE || st[s]==W)
#else
#define OPEN(s) (st[s]==NONE)
#endif
#ifdef BUG_OVERVOTE
#define TAKEN(s) (st[s]!=NONE && st[s]!=P)
#else
#define TAKEN(s) (st[s]!=NONE)
#endif
#if N==4
#define ANYWILD (st[0]==W || st[1]==W || st[2]==W || st[3]==W)
#elif N==3
#define ANYWILD (st[0]==W || st[1]==W || st[2]==W)
#else
#define ANYWILD false
#endif

/* reachability probes: a violation of "!probe" means "this ending is reachable" */
#ifdef REACH1
#define REACH (all && st[0]==W && st[1]==W)                         /* the cancel won */
#endif
#ifdef REACH2
#define REACH (ANYWILD && DONE(0) && rep[0]==1)                     /* a bystander has the wildcard, content 0 committed */
#endif
#ifdef REACH3
#define REACH (st[0]==A && ct[0]==0 && st[1]==W && crep[0]==2)      /* a vote undone by a wildcard, and the canceller says so */
#endif
#ifdef REACH4
#define REACH (all && (st[0]==T || st[1]==T) && rep[0]==2)          /* a tombstone of one content stood in the wildcard's place */
#endif
#ifdef REACH5
#define REACH (DONE(0) && crep[0]==1 && rep[0]==0)                  /* the canceller came too late, and says so */
#endif
#ifdef REACH6
#define REACH (DONE(0) && DONE(1))                                  /* DISJOINT: two transfers under one id */
#endif

#ifdef REACH7
bit once;
#define REACH once                                                  /* RESOLVE: every STATUS showed a tombstone */
#endif
#ifdef REACH8
#define REACH (all && ANYWILD)                                      /* RESOLVE alone: it has completed a tombstone */
#endif

#ifdef REACH
bit probe;
#endif

inline check() {
  d_step {
    assert(!(DONE(0) && ANYNO(0)) && !(DONE(1) && ANYNO(1)));       /* K1 atomicity */
    assert(!(rep[0]==1 && ANYNO(0)) && !(rep[1]==1 && ANYNO(1)));   /* K2 success is final */
    assert(!(rep[0]==2 && DONE(0)) && !(rep[1]==2 && DONE(1)));     /* K3 failure is final */
    assert(!(crep[0]==2 && (DONE(0) || rep[0]==1)) && !(crep[1]==2 && (DONE(1) || rep[1]==1)));
    assert(!(crep[0]==1 && ANYNO(0)) && !(crep[1]==1 && ANYNO(1))); /* K4 what the canceller said of one content is final */
    assert(!(all && (DONE(0) || DONE(1) || rep[0]==1 || rep[1]==1 || crep[0]==1 || crep[1]==1)));  /* K5 ... and of all */
  }
}

proctype Shard(byte s) {
  byte k;
end:
  do
  :: atomic { prep[s] && OPEN(s) -> k = 0; goto vote }
  :: atomic { prep[N+s] && OPEN(s) -> k = 1;
vote: if
       :: st[s] = P; ct[s] = k
       :: st[s] = A; ct[s] = k                                      /* funds are short */
       fi;
       k = 0; check() }
  :: atomic { pois[s] && st[s]==NONE -> st[s] = T; ct[s] = 0; check() }
  :: atomic { pois[N+s] && st[s]==NONE -> st[s] = T; ct[s] = 1; check() }
  od
}

/* recovery on a participant's leader, for the content that its shard voted for */
proctype Resolver(byte k; byte s; byte o) {
end:
  do
  :: atomic { VOTED(s,k) && st[s]==P && !pois[k*N+o] -> pois[k*N+o] = 1 }
  :: atomic { VOTED(s,k) && st[s]==P && ALLYES(k) -> st[s] = C; check() }
  :: atomic { VOTED(s,k) && st[s]==P && ANYNO(k) -> st[s] = A; check() }
#ifdef BUG_BYSTANDER
  :: atomic { VOTED(s,k) && st[s]==P && ANYWILD -> st[s] = A; check() }
#endif
  od
}

proctype Client(byte k) {
  do
  :: atomic { rep[k]==0 && !prep[k*N+FIRST(k)] -> prep[k*N+FIRST(k)] = 1 }
  :: atomic { rep[k]==0 && !prep[k*N+SECOND(k)] -> prep[k*N+SECOND(k)] = 1 }
  :: atomic { rep[k]==0 && ALLYES(k) -> rep[k] = 1; check() }
  :: atomic { rep[k]==0 && ANYNO(k) -> rep[k] = 2; check() }
  /* its deadline: it poisons its own transfer */
#ifdef PATIENT
#define HASTY (k==0)
#else
#define HASTY true
#endif
  :: atomic { HASTY && rep[k]==0 && !pois[k*N+FIRST(k)] -> pois[k*N+FIRST(k)] = 1 }
  :: atomic { HASTY && rep[k]==0 && !pois[k*N+SECOND(k)] -> pois[k*N+SECOND(k)] = 1 }
  :: atomic { true -> break }                                       /* done, or dies here */
  od
}

/* one content that a shard holds: poison its participants until the outcome is known */
inline settle(k) {
  do
  :: atomic { !pois[k*N+FIRST(k)] -> pois[k*N+FIRST(k)] = 1 }
  :: atomic { !pois[k*N+SECOND(k)] -> pois[k*N+SECOND(k)] = 1 }
  :: atomic { ALLYES(k) -> crep[k] = 1; check(); break }
  :: atomic { ANYNO(k) -> crep[k] = 2; check(); break }
  :: atomic { true -> goto dead }
  od
}

/* One shard after another in any order, as parallel requests may arrive: m is the set of those done. */
#define EACH(i) (m != FULL) -> \
    if :: !(m & 1) -> i = 0 \
       :: !(m & 2) -> i = 1 \
       :: N>2 && !(m & 4) -> i = 2 \
       :: N>3 && !(m & 8) -> i = 3 \
    fi; m = m | (1<<i)

/* resolve: writes nothing unless it finds a tombstone */
proctype Canceller(bit resolve) {
  byte i, m; bit round, held0, held1, again;
#ifdef RESOLVE
  bit tomb, none, known;
#elif defined(BUG_ANYTOMB)
  bit tomb;
#endif
#ifdef RESOLVE
  atomic { true -> known = (rep[0] || rep[1] || crep[0] || crep[1] || all) };
#endif
ask:
  do
  :: atomic { EACH(i);                                              /* STATUS */
       held0 = held0 || (HOLDS(i) && ct[i]==0);
       held1 = held1 || (HOLDS(i) && ct[i]==1);
#ifdef RESOLVE
       tomb = !held0 && !held1 && (tomb || st[i]>=T);
       none = !held0 && !held1 && (none || st[i]==NONE);
#elif defined(BUG_ANYTOMB)
       tomb = tomb || st[i]==T;
#endif
       i = 0 }
#ifdef RESOLVE
  :: atomic { m != FULL && (held0 || held1) -> m = 0; break }       /* goes on without the others */
#ifdef BUG_SOMESHARDS
  :: atomic { resolve && tomb && !none -> all = 1; check(); goto dead }
  :: atomic { resolve && none && !tomb -> assert(!known); goto dead }
#endif
#endif
  :: atomic { m == FULL -> m = 0; break }
  :: atomic { true -> goto dead }
  od;
  if
  :: atomic { held0 -> held0 = 0 }; settle(0)
  :: atomic { !held0 && held1 -> skip }
  :: atomic { !held0 && !held1 -> goto wild }
  fi;
  if
  :: atomic { held1 -> held1 = 0 }; settle(1)
  :: atomic { !held1 -> skip }
  fi;
  goto dead;
wild:
#ifdef RESOLVE
  if
  :: atomic { !none -> all = 1; check();                            /* a tombstone on every shard */
#ifdef REACH7
       once = 1;
#endif
       goto dead }
#ifdef BUG_ANYTOMB
  :: atomic { resolve && tomb -> all = 1; check(); goto dead }
#endif
  :: atomic { none && resolve && !tomb -> assert(!known); goto dead }          /* K6 "not found" */
  :: atomic { none && (tomb || !resolve) -> none = 0; tomb = 0 }
  fi;
#endif
#ifdef BUG_STATUSONLY
  atomic { all = 1; check(); goto dead };
#endif
#if defined(BUG_ANYTOMB) && !defined(RESOLVE)
  if
  :: atomic { tomb -> all = 1; check(); goto dead }
  :: !tomb -> skip
  fi;
#endif
  do
  :: atomic { EACH(i);                                              /* CANCEL, through the shard's log */
       if
       :: !TAKEN(i) -> st[i] = W; ct[i] = 0
       :: TAKEN(i) && GONE(i) -> skip
       :: TAKEN(i) && !GONE(i) -> again = 1                          /* a PREPARE came first */
       fi;
       i = 0; check() }
  :: atomic { again && !round -> round = 1; again = 0; m = 0; goto ask }
  :: atomic { again && round -> goto dead }                          /* gives up: the outcome is unknown to it */
#if defined(BUG_SOMESHARDS) && !defined(RESOLVE)
  :: atomic { m && !again -> all = 1; check(); goto dead }
#endif
  :: atomic { m == FULL && !again -> all = 1; check(); goto dead }
  :: atomic { true -> goto dead }
  od;
dead:
  atomic { m = 0; held0 = 0; held1 = 0; round = 0; again = 0
#ifdef RESOLVE
    ; tomb = 0; none = 0; known = 0
#endif
  }
}

#ifdef STRAY
proctype Stray() {
  byte i;
  do
  :: atomic { i < N && st[i]==NONE -> st[i] = W; ct[i] = 0; i = 0; check() }
  :: atomic { i < N-1 -> i++ }
  :: atomic { true -> i = 0; break }
  od
}
#endif

/* quiescence: nothing else in the whole system can take a step */
active proctype Monitor() {
  byte s;
  timeout ->
  d_step {
    do
    :: s < N -> assert(st[s] != P); s++                             /* nothing stays prepared */
    :: else -> break
    od;
    s = 0
#ifdef REACH
    ; probe = (REACH); assert(!probe)
#endif
  }
}

init {
  byte i;
  atomic {
    do :: i < N -> run Shard(i); i++ :: else -> break od;
    i = 0;
    do
    :: i < 2 -> run Resolver(i,FIRST(i),SECOND(i)); run Resolver(i,SECOND(i),FIRST(i)); run Client(i); i++
    :: else -> break
    od;
    i = 0;
#ifdef RESOLVE
    do :: i < NCAN -> run Canceller(i == NCAN-1); i++ :: else -> break od;
#else
    do :: i < NCAN -> run Canceller(0); i++ :: else -> break od;
#endif
    i = 0;
#ifdef STRAY
    run Stray()
#endif
  }
}
