/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The interface language: what each attribute means here. Every .iig file includes this first,
 * directly or through its super class. The attributes are clang annotations; what has no meaning
 * on Linux is refused.
 *
 * Of a class:
 *
 * - KERNEL, NATIVE, CONCRETE: where Apple's system implements it. There is no kernel half here, so
 *   they change nothing.
 * - LOCAL: instances never leave the process. So it is with all but SERIALIZABLE classes.
 * - SERIALIZABLE: instances travel by value, in their binary form. Only DriverKit's own
 *   collections have one.
 * - PROTOCOL (ours): messages only. iig writes ids, structures, encode and decode, but no class
 *   table and no stubs.
 * - EXTENDS(Class): `class EXTENDS(Class) Name` adds methods to a class that another file
 *   declares. Each takes an object of Class and has an id of its own; it is called as
 *   Name_method(). It overrides nothing, runs on the default queue, and is not known to the
 *   headers of derived classes. libdext refuses an extension whose name or ids are taken.
 *
 * Of a method:
 *
 * - static: runs in the process that calls it, at once, on the caller's queue: there is no object
 *   that could be elsewhere. It goes through the class table: Class_Method() is the call,
 *   Class_Method_Impl() what its author writes. With LOCALONLY it is an ordinary function.
 * - KERNEL, NATIVE: change nothing, as for a class.
 * - LOCAL: implemented in the driver's process, where the object lives. So is every method here:
 *   it may be written, and changes nothing.
 * - LOCALONLY: never leaves the process, and so may take and return any C type. It runs at once,
 *   on its caller's queue. It has no message on the wire.
 * - REMOTE: may be called from another process. So may every virtual method that is not LOCALONLY:
 *   it may be written, and changes nothing; with LOCAL, LOCALONLY or static it is an error.
 * - LOCALHOST: runs in the process that owns the object, as every method does; with LOCALONLY,
 *   which can run nowhere else, or with REMOTE it is an error.
 * - TYPE(Class::Method), TYPE(Method): has the signature of that prototype and is an
 *   implementation of it: iig writes Class_CreateAction<Method>(). On an OSAction * parameter it
 *   says which callback is expected.
 * - REPLY, of a prototype: the callback answers another call. Here it is a message of its own like
 *   every callback: nothing else changes.
 * - INVOKEREPLY, of the method that such a callback answers: there is no reply to be used again,
 *   so it changes nothing.
 * - QUEUENAME(name): runs on the queue that SetDispatchQueue() set under this name; on the default
 *   queue until then.
 *
 * Of a class or a method:
 *
 * - __attribute__((availability(driverkit, introduced=25, deprecated=27, obsoleted=30,
 *   message="use other()"))): the versions of the API that have it. The header says so, and a
 *   driver that is compiled with -DDEXT_API=24 may not call it; with 27 it is told what to use
 *   instead. Without DEXT_API all is there.
 *
 * Of a parameter:
 *
 * - TARGET, of the first one, an OSAction *: the method is the prototype of a callback. It is
 *   called on the action, which runs the method of its target.
 * - NOESCAPE (ours), of a function that goes with a context: it is only called before the method
 *   returns. See the blocks below.
 * - PORTMAKESEND, PORTCOPYSEND: refused. There are no Mach ports: a descriptor (dext_fd_t) or an
 *   object takes their place.
 *
 * A method that is not LOCALONLY takes
 *
 * - integers of a fixed size, bool and enumerations by value; T *x for one that comes back;
 * - structures of these and of arrays of these: by value, const S *x, or S *x that comes back;
 * - const T x[N], uint32_t xCount: at most N integers or structures;
 * - T x[N], uint32_t *xCount: the same coming back; the count is the room before, the number after;
 * - const Name x, with typedef char Name[N]: a string and its terminator;
 * - Class *x, and Class **x for an object that comes back (returned);
 * - Class * const x[N], uint32_t xCount: at most N objects;
 * - dext_fd_t, dext_fd_t *x, const dext_fd_t x[N] with its count: open descriptors.
 *
 * Where something comes back the caller may pass NULL, and the value is dropped; but not for a
 * count. What does not fit is kIOReturnOverrun, on the side that sends and on the one that
 * receives: nothing is cut. A void method is oneway. C passes every argument, defaults too.
 *
 * Lines of a comment between "@iig implementation" and "@iig end" are copied into the generated
 * source, behind its #includes: into that of --cxx-impl where the classes are implemented in C++,
 * into none with --remote. Such a comment documents nothing.
 *
 * A LOCALONLY method X_f(…, void *context, function), where the function takes that context first
 * and has a typedef, gets a form X(…, block) for compilers that know blocks: the block takes what
 * the function takes behind the context. It is NULL where both may be. What the method promises is
 * how long the block is kept:
 *
 * - with NOESCAPE, or a function that returns something: it is called before the method returns
 *   only, and the block is not copied;
 * - otherwise the method returns kern_return_t; where it succeeds it calls the function exactly
 *   once, and where it fails never. The block is copied, and released when it has run;
 * - X_f(…, void *context, function, ended), with void (*ended)(void *context), calls the
 *   function as often as it likes, until it calls `ended`: once where it succeeds.
 *
 * A method that promises none of these has no such form, nor has one whose name X is taken.
 */

/* How an attribute reaches iig; the attributes below are made of it. */
#define IIG_ANNOTATE(text) __attribute__((annotate(text)))

/* The attributes: what each means is told above. */
#define KERNEL          IIG_ANNOTATE("kernel")
#define NATIVE          IIG_ANNOTATE("native")
#define CONCRETE        IIG_ANNOTATE("concrete")
#define SERIALIZABLE    IIG_ANNOTATE("serializable")
#define PROTOCOL        IIG_ANNOTATE("protocol")
#define LOCAL           IIG_ANNOTATE("local")
#define LOCALONLY       IIG_ANNOTATE("localonly")
#define REMOTE          IIG_ANNOTATE("remote")
#define LOCALHOST       IIG_ANNOTATE("localhost")
#define REPLY           IIG_ANNOTATE("reply")
#define INVOKEREPLY     IIG_ANNOTATE("invokereply")
#define TARGET          IIG_ANNOTATE("target")
#define NOESCAPE        IIG_ANNOTATE("noescape")
#define TYPE(method)    IIG_ANNOTATE("type:" #method)
#define QUEUENAME(name) IIG_ANNOTATE("queuename:" #name)
#define EXTENDS(cls)    IIG_ANNOTATE("extends:" #cls)

/* Known so that they can be refused by name. */
#define PORTMAKESEND IIG_ANNOTATE("port:PORTMAKESEND")
#define PORTCOPYSEND IIG_ANNOTATE("port:PORTCOPYSEND")
typedef unsigned int mach_port_t;
