/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the object model is to C++. Included by OSMetaClass.h, never by itself.
 *
 * An object is the same memory in both languages. Its first word is C++'s: the virtual of
 * OSMetaClassBase puts the vtable pointer there. An object whose classes are all written in C has
 * none; so what iig writes for those never calls a virtual. Every call goes through the class
 * table.
 *
 * Objects are made with OSTypeAlloc and end with the last release(): there are none on the stack,
 * no new and no delete. Compiled with -fno-rtti and -fno-exceptions; nothing here needs more of a
 * C++ library than its headers.
 */

#pragma GCC visibility push(default)

/* The head of every instance: struct OSObject, as C names it. Private to the object model. */
class OSMetaClassBase
{
public:
	void retain() const
	{
		OSObjectRetain(this);
	}

	void release() const
	{
		OSObjectRelease(this);
	}

	OSMetaClassBase(const OSMetaClassBase &) = delete;
	OSMetaClassBase &operator=(const OSMetaClassBase &) = delete;

protected:
	OSMetaClassBase() = default;
	~OSMetaClassBase() = default;

	/* Never called: it is what the first word is there for. */
	virtual void dext_check_layout()
	{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winvalid-offsetof"
		static_assert(
			offsetof(OSMetaClassBase, dext_meta) == sizeof(void *) &&
				offsetof(OSMetaClassBase, dext_refcount) == 2 * sizeof(void *) &&
				offsetof(OSMetaClassBase, dext_flags) == 2 * sizeof(void *) + 4 &&
				offsetof(OSMetaClassBase, dext_state) == 2 * sizeof(void *) + 8 &&
				sizeof(OSMetaClassBase) == 3 * sizeof(void *) + 8,
			"the head of an object is the same in C and in C++");
#pragma GCC diagnostic pop
	}

	const OSMetaClass *dext_meta = nullptr;
	uint32_t dext_refcount = 0; // atomic; C's
	uint32_t dext_flags = 0;
	struct OSObject_IVars *dext_state = nullptr;
};

/* The argument list of a method as iig wrote it: kern_return_t IMPL(UsbReader, Start) { … } */
#define IMPL(cls, method) cls::method##_Impl(cls##_##method##_Args)

/* As the last argument of a method that this class overrides: the super class's implementation.
 * Start(provider, SUPERDISPATCH) */
#define SUPERDISPATCH (OSDispatchSuper())

#pragma GCC visibility pop
