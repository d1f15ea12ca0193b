/* commit.pml - client-driven, implicit-commit protocol for a sharded escrow ledger: docs/PROTOCOL.md, sections 2 to 6.
 *
 * Assumption modelled, not verified here: each shard is ONE durable, linearizable state machine (Raft inside the
 * shard gives that).  What can fail: clients (stop for ever at any step), leaders (lose all volatile resolver
 * knowledge), the network (loss of client messages for ever; duplication, reordering and unbounded delay of all).
 *
 * Network = a set of messages.  Sending sets a bit; delivery does NOT clear it (so a copy can be delivered again
 * at any later time: duplication, reordering, delay); Network may clear a client message's bit (loss for ever).
 * Server-to-server messages are retransmitted, hence delayed at will but never lost for ever.
 *
 * Every action is monotone, so the graph is acyclic and every maximal run ends in a quiescent state:
 * "no P at quiescence" is then exactly "nothing stays prepared for ever, under ANY scheduling".
 *
 * Two grains of the same protocol:
 *   default     a reply, once sent, is a permanent fact (votes and outcomes are write-once), so "an actor has received
 *               these replies" is the same as "the actor takes its step now"; anyone may carry a FINISH.
 *   -DCONCRETE  every client and every resolver gathers replies one by one into its own memory; a leader change wipes
 *               the resolver's; FINISH and cancel are messages of the client, which may be lost.
 *
 * -DBYSTANDER adds a shard outside P that has a tombstone for the id (CANCEL's wildcard, or a liar's poison), so that a
 * genuine ABORTED certificate of a shard without a say is about.  It must not undo a vote, nor make a client report; a shard
 * that has not voted may take it for a reason to abort (section 4: always safe).
 *
 * Build:  spin -a [-DNS=2 -DNT=1 -DNC=2 -DCONCRETE -DSAME -DHORIZON ...] commit.pml
 *         gcc -O2 -DSAFETY -DNOFAIR -DCOLLAPSE -o pan pan.c && ./pan -m1000000 -w24
 *         LTL: add -DWITHLTL, compile without -DSAFETY, run ./pan -a -N nonblock
 * Faulty variants, each of which must be caught:
 *   -DBUG_NOTOMB      inquiry answers "unknown, so abort" but writes no tombstone: a late PREPARE may still vote yes
 *   -DBUG_UNILATERAL  a prepared shard aborts by itself on a time-out
 *   -DBUG_EARLYACK    the client reports success after one yes
 *   -DBUG_FORGETC     a shard forgets a committed transfer that another shard may still ask about
 *   -DBUG_CANCELP     a prepared shard obeys a cancel that carries no no-certificate (CONCRETE)
 *   -DBUG_NOESCROW    admission looks at the posted balance and ignores reservations (NT=2, SAME)
 *   -DBUG_FORGETA     with HORIZON: tombstones are dropped but late PREPAREs of that era are still accepted
 *   -DBUG_NORESOLVE   no recovery by participants: prepared for ever
 *   -DBUG_BYSTANDERP  with BYSTANDER: a prepared shard believes the bystander's ABORTED
 *   -DBUG_BYSTANDERC  with BYSTANDER: a client believes it and reports failure
 */
#ifndef NS
#define NS 2            /* shards; every transfer touches all of them */
#endif
#ifndef NT
#define NT 1            /* transfers */
#endif
#ifndef NC
#define NC 2            /* client incarnations per transfer: the first and its restart(s), same id */
#endif
#ifndef NR
#define NR 1            /* leader changes (loss of resolver knowledge) allowed per (transfer, shard) */
#endif

#define NONE 0
#define P 1
#define C 2
#define A 3

#define IX(t,s) ((t)*NS+(s))
#define FULL ((1<<NS)-1)

byte st[NT*NS];                 /* replicated: none, prepared, committed, aborted */
bit  votedP[NT*NS];             /* ghost: this shard once voted P */

/* reachability probes (-DREACHn): a violation of "!probe" means "this ending is reachable", so the model is not vacuous */
#ifdef REACH1
#define REACH (st[0]==C && rep[0]==1)                       /* committed, success reported */
#endif
#ifdef REACH2
#define REACH (st[0]==C && rep[0]==0)                       /* committed by recovery, the client died unanswered */
#endif
#ifdef REACH3
#define REACH (st[0]==A && st[1]==A && votedP[0] && rep[0]==0)  /* a yes vote undone by recovery after the client died */
#endif
#ifdef REACH4
#define REACH (st[0]==A && !votedP[0] && votedP[1])         /* tombstone on one side beat the PREPARE; other side had voted */
#endif
#ifdef REACH5
#define REACH (st[0]==C && st[2]==A && !votedP[2])          /* NT=2 SAME: one wins the funds, the other is refused */
#endif
#ifdef REACH6
#define REACH (rep[0]==1 && rep[1]==0 && st[0]==C)          /* NC=2: one incarnation knows, the other never learnt */
#endif
#ifdef REACH7
#define REACH (by_A[0] && st[0]==C && rep[0]==1)            /* BYSTANDER: it spoke, and the transfer committed all the same */
#endif
#ifdef REACH8
#define REACH (by_A[0] && st[0]==A && !m_inq[0] && !m_inq[1])  /* BYSTANDER: it aborted a transfer that nobody poisoned */
#endif

#ifdef REACH
bit probe;
#endif

/* the network (message set) */
bit m_prep[NT*NS];              /* client -> shard */
bit m_inq[NT*NS];               /* anyone -> shard: inquiry that poisons an unknown transfer */
bit m_fin_c[NT*NS];             /* client -> shard: FINISH(commit) carrying k yes-certificates */
bit m_fin_a[NT*NS];             /* client -> shard: FINISH(abort) carrying one no-certificate */
bit m_can[NT*NS];               /* client -> shard: bare cancel, no certificate (same handling as inquiry) */
bit r_P[NT*NS];                 /* reply/certificate "shard s voted P" is in the network */
bit r_A[NT*NS];                 /* reply/certificate "shard s is aborted" */
bit r_C[NT*NS];                 /* reply "shard s is committed" */
#ifdef BYSTANDER
bit by_A[NT];                   /* certificate "the bystander is aborted" */
#define BYNO(t) (by_A[t])
#else
#define BYNO(t) false
#endif

/* accounts: one per shard. escrow: spendable = bal - res */
short bal[NS];
short res[NS];
short pin[NS];
short total;

byte rep[NT*NC];                /* what each client incarnation told its user: 0 nothing, 1 OK, 2 FAILED */
bit  hor[NS];                   /* id horizon raised: ids of this era are refused when unknown */

/* legs: transfer 0 debits shard 0 by NS-1, credits 1 to every other shard.
   transfer 1: with -DSAME the same legs (contention for the same funds), otherwise debits shard 1. */
#ifdef SAME
#define DEBTOR(t) 0
#else
#define DEBTOR(t) (t)
#endif
#define AMT (NS-1)
#ifdef BUG_FORGETC
#define I7OK true          /* let the consequence show, not the act */
#else
#define I7OK false
#endif

#if NS>2
#define ALLYES(t) (r_P[IX(t,0)] && r_P[IX(t,1)] && r_P[IX(t,2)])
#define ANYNO(t) (r_A[IX(t,0)] || r_A[IX(t,1)] || r_A[IX(t,2)])
#define ANYC(t) (r_C[IX(t,0)] || r_C[IX(t,1)] || r_C[IX(t,2)])
#else
#define ALLYES(t) (r_P[IX(t,0)] && r_P[IX(t,1)])
#define ANYNO(t) (r_A[IX(t,0)] || r_A[IX(t,1)])
#define ANYC(t) (r_C[IX(t,0)] || r_C[IX(t,1)])
#endif
#ifdef BUG_FORGETA
#define FRESH(s) true
#else
#define FRESH(s) (!hor[s])
#endif
#ifdef BUG_NOESCROW
#define FUNDS(s) (bal[s] >= AMT)
#else
#define FUNDS(s) (bal[s]-res[s] >= AMT)
#endif
#ifdef CONCRETE
#define CARRIED(t) BYNO(t)      /* a liar's FINISH(abort) that carries the bystander's certificate */
#else
#define CARRIED(t) false        /* in this grain the Resolver carries it */
#endif
#ifdef BUG_NOTOMB
#define ONCE(t,s) (!r_A[IX(t,s)])
#else
#define ONCE(t,s) true
#endif

inline vote_yes(t,s) {
  if
  :: s==DEBTOR(t) -> res[s] = res[s] + AMT
  :: else -> pin[s] = pin[s] + 1
  fi
}
inline post(t,s) {
  if
  :: s==DEBTOR(t) -> res[s] = res[s] - AMT; bal[s] = bal[s] - AMT
  :: else -> pin[s] = pin[s] - 1; bal[s] = bal[s] + 1
  fi
}
inline unreserve(t,s) {
  if
  :: s==DEBTOR(t) -> res[s] = res[s] - AMT
  :: else -> pin[s] = pin[s] - 1
  fi
}

/* invariant, checked after every replicated transition */
inline check(t) {
  d_step {
    byte i_, j_, nC_, nA_, u_; short sum_;
    nC_ = 0; nA_ = 0; i_ = 0;
    do
    :: i_ < NS -> nC_ = nC_ + (st[IX(t,i_)]==C); nA_ = nA_ + (st[IX(t,i_)]==A); i_++
    :: else -> break
    od;
    assert(!(nC_ > 0 && nA_ > 0));                                   /* I1 atomicity */
    i_ = 0;
    do
    :: i_ < NC ->
         assert(!(rep[t*NC+i_]==1 && nA_ > 0));                       /* I2 success is never undone */
         assert(!(rep[t*NC+i_]==2 && nC_ > 0));                       /* I3 failure is never undone */
         j_ = 0;
         do
         :: j_ < NC -> assert(!(rep[t*NC+i_]==1 && rep[t*NC+j_]==2)); j_++  /* I4 one outcome for all callers */
         :: else -> break
         od;
         i_++
    :: else -> break
    od;
    /* I5 conservation: posted balances, corrected for committed transfers not yet finished everywhere */
    sum_ = 0; i_ = 0;
    do :: i_ < NS -> sum_ = sum_ + bal[i_];
            assert(bal[i_] >= 0 && res[i_] >= 0 && res[i_] <= bal[i_] && pin[i_] >= 0);   /* I6 escrow */
            i_++
       :: else -> break od;
    j_ = 0;
    do
    :: j_ < NT ->
       nC_ = 0; i_ = 0;
       do :: i_ < NS -> nC_ = nC_ + (st[IX(j_,i_)]==C); i_++ :: else -> break od;
       if
       :: nC_ > 0 ->
          i_ = 0;
          do
          :: i_ < NS ->
             if
             :: st[IX(j_,i_)]==P && i_==DEBTOR(j_) -> sum_ = sum_ - AMT
             :: st[IX(j_,i_)]==P && i_!=DEBTOR(j_) -> sum_ = sum_ + 1
             ::  st[IX(j_,i_)]==NONE -> assert(I7OK)                  /* I7 committed somewhere => voted everywhere */
             :: else -> skip
             fi; i_++
          :: else -> break
          od
       :: else -> skip
       fi; j_++
    :: else -> break
    od;
    assert(sum_ == total);
    i_ = 0; j_ = 0; u_ = 0; nC_ = 0; nA_ = 0; sum_ = 0
  }
}

/* one process per (transfer, shard): the replicated state machine's transitions for that id */
proctype Shard(byte t; byte s) {
  byte o;
end:
  do
  /* PREPARE delivered while the id is unknown: the vote. Known ids: reply only (already in the network). */
  :: atomic { m_prep[IX(t,s)] && st[IX(t,s)]==NONE && FRESH(s) ->
       if
       :: s!=DEBTOR(t) || FUNDS(s) ->
            st[IX(t,s)] = P; votedP[IX(t,s)] = 1; vote_yes(t,s); r_P[IX(t,s)] = 1
       :: else -> st[IX(t,s)] = A; r_A[IX(t,s)] = 1                   /* durable refusal */
       fi;
       check(t) }
  /* an unknown id below the horizon: refused, nothing written */
  :: atomic { (m_prep[IX(t,s)] || m_inq[IX(t,s)] || m_can[IX(t,s)]) && st[IX(t,s)]==NONE && hor[s] && !r_A[IX(t,s)] ->
       r_A[IX(t,s)] = 1; check(t) }
  /* inquiry / cancel while unknown: the tombstone */
  :: atomic { (m_inq[IX(t,s)] || m_can[IX(t,s)]) && st[IX(t,s)]==NONE && !hor[s] && ONCE(t,s) ->
#ifndef BUG_NOTOMB
       st[IX(t,s)] = A;
#endif
       r_A[IX(t,s)] = 1; check(t) }
#ifdef BUG_CANCELP
  :: atomic { m_can[IX(t,s)] && st[IX(t,s)]==P -> st[IX(t,s)] = A; unreserve(t,s); r_A[IX(t,s)] = 1; check(t) }
#endif
#ifdef BUG_UNILATERAL
  :: atomic { st[IX(t,s)]==P -> st[IX(t,s)] = A; unreserve(t,s); r_A[IX(t,s)] = 1; check(t) }   /* local timeout */
#endif
  /* FINISH from a client */
  :: atomic { m_fin_c[IX(t,s)] && st[IX(t,s)]==P -> st[IX(t,s)] = C; post(t,s); r_C[IX(t,s)] = 1; check(t) }
  :: atomic { m_fin_a[IX(t,s)] && st[IX(t,s)]==P -> st[IX(t,s)] = A; unreserve(t,s); r_A[IX(t,s)] = 1; check(t) }
  :: atomic { (m_fin_a[IX(t,s)] || CARRIED(t)) && st[IX(t,s)]==NONE && !hor[s] -> st[IX(t,s)] = A; r_A[IX(t,s)] = 1; check(t) }
#ifdef BUG_FORGETC
  :: atomic { st[IX(t,s)]==C -> st[IX(t,s)] = NONE }        /* forgets a commit others may still ask about */
#endif
#ifdef HORIZON
  :: atomic { !hor[s] -> hor[s] = 1 }                                  /* may be raised at any moment, by any clock */
  :: atomic { hor[s] && st[IX(t,s)]==A -> st[IX(t,s)] = NONE }         /* tombstone garbage-collected */
#endif
  od
}

/* recovery on the shard's current leader: gathers replies, then finishes. Its knowledge is volatile. */
#ifdef CONCRETE
proctype Resolver(byte t; byte s) {
  byte kP, kA, kC, n, o;
end:
  do
#ifndef BUG_NORESOLVE
  :: atomic { st[IX(t,s)]==P && o < NS && o != s && !m_inq[IX(t,o)] -> m_inq[IX(t,o)] = 1 }   /* timer fires: any time */
  :: atomic { o < NS && (o==s || m_inq[IX(t,o)]) -> o++ }
  /* receive replies, in any order, any subset */
  :: atomic { st[IX(t,s)]==P && r_P[IX(t,0)] && !(kP & 1) -> kP = kP | 1 }
  :: atomic { st[IX(t,s)]==P && r_A[IX(t,0)] && !kA -> kA = 1 }
  :: atomic { st[IX(t,s)]==P && r_C[IX(t,0)] && !kC -> kC = 1 }
  :: atomic { st[IX(t,s)]==P && r_P[IX(t,1)] && !(kP & 2) -> kP = kP | 2 }
  :: atomic { st[IX(t,s)]==P && r_A[IX(t,1)] && !kA -> kA = 1 }
#ifdef BUG_BYSTANDERP
  :: atomic { st[IX(t,s)]==P && BYNO(t) && !kA -> kA = 1 }
#endif
  :: atomic { st[IX(t,s)]==P && r_C[IX(t,1)] && !kC -> kC = 1 }
#if NS>2
  :: atomic { st[IX(t,s)]==P && r_P[IX(t,2)] && !(kP & 4) -> kP = kP | 4 }
  :: atomic { st[IX(t,s)]==P && r_A[IX(t,2)] && !kA -> kA = 1 }
  :: atomic { st[IX(t,s)]==P && r_C[IX(t,2)] && !kC -> kC = 1 }
#endif
  :: atomic { kA && kC -> assert(false) }
  :: atomic { st[IX(t,s)]==P && (kP==FULL || kC) -> st[IX(t,s)] = C; post(t,s); r_C[IX(t,s)] = 1; check(t) }
  :: atomic { st[IX(t,s)]==P && kA -> st[IX(t,s)] = A; unreserve(t,s); r_A[IX(t,s)] = 1; check(t) }
  :: atomic { st[IX(t,s)]==P && n < NR && (kP || kA || kC || o) -> n++; kP = 0; kA = 0; kC = 0; o = 0 } /* leader change */
#else
  :: false
#endif
  od
}
#else
proctype Resolver(byte t; byte s) {      /* anyone who holds the certificates: recovery leader, or the client's FINISH */
end:
  do
#ifndef BUG_NORESOLVE
  :: atomic { st[IX(t,s)]==P && s!=0 && !m_inq[IX(t,0)] -> m_inq[IX(t,0)] = 1 }        /* timer: may fire at any time */
  :: atomic { st[IX(t,s)]==P && s!=1 && !m_inq[IX(t,1)] -> m_inq[IX(t,1)] = 1 }
#if NS>2
  :: atomic { st[IX(t,s)]==P && s!=2 && !m_inq[IX(t,2)] -> m_inq[IX(t,2)] = 1 }
#endif
  :: atomic { st[IX(t,s)]==P && (ALLYES(t) || ANYC(t)) -> st[IX(t,s)] = C; post(t,s); r_C[IX(t,s)] = 1; check(t) }
  :: atomic { st[IX(t,s)]==P && ANYNO(t) -> st[IX(t,s)] = A; unreserve(t,s); r_A[IX(t,s)] = 1; check(t) }
#ifdef BUG_BYSTANDERP
  :: atomic { st[IX(t,s)]==P && BYNO(t) -> st[IX(t,s)] = A; unreserve(t,s); r_A[IX(t,s)] = 1; check(t) }
#endif
#else
  :: false
#endif
  :: atomic { st[IX(t,s)]==NONE && (ANYNO(t) || BYNO(t)) && !hor[s] -> st[IX(t,s)] = A; r_A[IX(t,s)] = 1; check(t) }
  od
}
#endif

#ifdef CONCRETE
proctype Client(byte t; byte c) {
  byte sent, kP, kA, kC, fin, can;
  byte s;
  do
  /* send PREPARE to one more shard (any order) */
  :: atomic { sent != FULL && !kA && !kC -> s = 0;
       if
       :: !(sent & 1) -> s = 0
       :: !(sent & 2) -> s = 1
#if NS>2
       :: !(sent & 4) -> s = 2
#endif
       fi;
       m_prep[IX(t,s)] = 1; sent = sent | (1<<s); s = 0 }
  /* receive replies, in any order, any subset */
  :: atomic { rep[t*NC+c]==0 && r_P[IX(t,0)] && !(kP & 1) -> kP = kP | 1 }
  :: atomic { rep[t*NC+c]==0 && r_A[IX(t,0)] && !kA -> kA = 1 }
  :: atomic { rep[t*NC+c]==0 && r_C[IX(t,0)] && !kC -> kC = 1 }
  :: atomic { rep[t*NC+c]==0 && r_P[IX(t,1)] && !(kP & 2) -> kP = kP | 2 }
  :: atomic { rep[t*NC+c]==0 && r_A[IX(t,1)] && !kA -> kA = 1 }
#ifdef BUG_BYSTANDERC
  :: atomic { rep[t*NC+c]==0 && BYNO(t) && !kA -> kA = 1 }
#endif
  :: atomic { rep[t*NC+c]==0 && r_C[IX(t,1)] && !kC -> kC = 1 }
#if NS>2
  :: atomic { rep[t*NC+c]==0 && r_P[IX(t,2)] && !(kP & 4) -> kP = kP | 4 }
  :: atomic { rep[t*NC+c]==0 && r_A[IX(t,2)] && !kA -> kA = 1 }
  :: atomic { rep[t*NC+c]==0 && r_C[IX(t,2)] && !kC -> kC = 1 }
#endif
  /* report */
#ifdef BUG_EARLYACK
  :: atomic { rep[t*NC+c]==0 && kP -> rep[t*NC+c] = 1; check(t) }
#endif
  :: atomic { rep[t*NC+c]==0 && (kP==FULL || kC) && !kA -> rep[t*NC+c] = 1; check(t) }
  :: atomic { rep[t*NC+c]==0 && kA && !kC -> rep[t*NC+c] = 2; check(t) }
  :: atomic { kA && kC -> assert(false) }
  /* tell the shards, one at a time, with the certificates it holds */
  :: atomic { rep[t*NC+c]==1 && fin < NS -> m_fin_c[IX(t,fin)] = 1; fin++ }
  :: atomic { rep[t*NC+c]==2 && fin < NS -> m_fin_a[IX(t,fin)] = 1; fin++ }
  /* impatient: cancel (inquiry) to one shard after another */
  :: atomic { rep[t*NC+c]==0 && sent && can < NS -> m_can[IX(t,can)] = 1; can++ }
  /* done, or the client dies here */
  :: atomic { true -> break }
  od
}
#else
proctype Client(byte t; byte c) {
  byte sent;
  do
  :: atomic { !(sent & 1) && rep[t*NC+c]==0 -> m_prep[IX(t,0)] = 1; sent = sent | 1 }
  :: atomic { !(sent & 2) && rep[t*NC+c]==0 -> m_prep[IX(t,1)] = 1; sent = sent | 2 }
#if NS>2
  :: atomic { !(sent & 4) && rep[t*NC+c]==0 -> m_prep[IX(t,2)] = 1; sent = sent | 4 }
#endif
#ifdef BUG_EARLYACK
  :: atomic { rep[t*NC+c]==0 && r_P[IX(t,0)] -> rep[t*NC+c] = 1; check(t) }
#endif
  :: atomic { rep[t*NC+c]==0 && (ALLYES(t) || ANYC(t)) -> rep[t*NC+c] = 1; check(t) }
  :: atomic { rep[t*NC+c]==0 && ANYNO(t) -> rep[t*NC+c] = 2; check(t) }
#ifdef BUG_BYSTANDERC
  :: atomic { rep[t*NC+c]==0 && BYNO(t) -> rep[t*NC+c] = 2; check(t) }
#endif
  :: atomic { rep[t*NC+c]==0 && sent && !m_inq[IX(t,0)] -> m_inq[IX(t,0)] = 1 }        /* impatient: cancel = inquiry */
  :: atomic { rep[t*NC+c]==0 && sent && !m_inq[IX(t,1)] -> m_inq[IX(t,1)] = 1 }
#if NS>2
  :: atomic { rep[t*NC+c]==0 && sent && !m_inq[IX(t,2)] -> m_inq[IX(t,2)] = 1 }
#endif
  :: atomic { true -> break }                                                            /* done, or dies here */
  od
}
#endif

#ifdef BYSTANDER
proctype Bystander() {               /* gets its tombstone at any time, or never matters */
  byte t;
  do
  :: atomic { t < NT -> by_A[t] = 1; t++ }
  :: t == NT -> break
  od
}
#endif

proctype Network() {                 /* loses client messages for ever */
  byte i;
end:
  do
  :: atomic { m_prep[0] -> m_prep[0] = 0 }
  :: atomic { m_prep[1] -> m_prep[1] = 0 }
#ifdef CONCRETE
  :: atomic { m_fin_c[0] -> m_fin_c[0] = 0 }
  :: atomic { m_fin_a[0] -> m_fin_a[0] = 0 }
  :: atomic { m_fin_c[1] -> m_fin_c[1] = 0 }
  :: atomic { m_fin_a[1] -> m_fin_a[1] = 0 }
#endif
#if NT*NS > 2
  :: atomic { m_prep[2] -> m_prep[2] = 0 }
#ifdef CONCRETE
  :: atomic { m_fin_c[2] -> m_fin_c[2] = 0 }
  :: atomic { m_fin_a[2] -> m_fin_a[2] = 0 }
#endif
#endif
#if NT*NS > 3
  :: atomic { m_prep[3] -> m_prep[3] = 0 }
#ifdef CONCRETE
  :: atomic { m_fin_c[3] -> m_fin_c[3] = 0 }
  :: atomic { m_fin_a[3] -> m_fin_a[3] = 0 }
#endif
#endif
  od
}

/* quiescence: nothing else in the whole system can take a step */
proctype Monitor() {
  byte t, s; short sum; byte nC, nA;
  timeout ->
  d_step {
    t = 0;
    do
    :: t < NT ->
       s = 0; nC = 0; nA = 0;
       do
       :: s < NS -> assert(st[IX(t,s)] != P);                               /* L1 nothing stays prepared */
            nC = nC + (st[IX(t,s)]==C); nA = nA + (st[IX(t,s)]!=C); s++
       :: else -> break
       od;
       assert(nC==0 || nA==0);                                               /* L2 all or nothing */
       s = 0;
       do
       :: s < NC -> assert(rep[t*NC+s]!=1 || nA==0); assert(rep[t*NC+s]!=2 || nC==0); s++   /* L3 reports come true */
       :: else -> break
       od;
       t++
    :: else -> break
    od;
    s = 0; sum = 0;
    do :: s < NS -> sum = sum + bal[s]; assert(res[s]==0 && pin[s]==0); s++ :: else -> break od;
    assert(sum == total)
#ifdef REACH
    ; probe = (REACH); assert(!probe)
#endif
  }
}

init {
  byte t, s;
  atomic {
    s = 0;
    do :: s < NS -> bal[s] = AMT; total = total + AMT; s++ :: else -> break od;
    t = 0;
    do
    :: t < NT ->
       s = 0;
       do :: s < NS -> run Shard(t,s); run Resolver(t,s); s++ :: else -> break od;
       s = 0;
       do :: s < NC -> run Client(t,s); s++ :: else -> break od;
       t++
    :: else -> break
    od;
#ifdef BYSTANDER
    run Bystander();
#endif
    run Network();
    run Monitor();
    t = 0; s = 0
  }
}

#ifdef WITHLTL
ltl nonblock { ([] ((st[0]==P) -> <> (st[0]!=P))) && ([] ((st[1]==P) -> <> (st[1]!=P))) }
#endif
