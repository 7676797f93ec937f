// SPDX-License-Identifier: Apache-2.0
/* Callers in C++: of objects that may be made in either language, through pointers of any class. */

#include <DriverKit/IOLib.h>
#include <DriverKit/OSCollections.h>

#include "CrossTop.h"
#include "cross.h"

static const uint64_t NONE = UINT64_MAX;

template <typename T> static CrossBase *make(T *made)
{
	if (made != nullptr && !made->init())
		OSSafeReleaseNULL(made);
	return made;
}

CrossBase *cxx_make(enum cross_class cls)
{
	switch (cls) {
	case CROSS_BASE:
		return CrossBase::make();
	case CROSS_MIDDLE:
		return CrossMiddle::make();
	case CROSS_LEAF:
		return make(OSTypeAlloc(CrossLeaf));
	case CROSS_TOP:
		return make(OSTypeAlloc(CrossTop));
	case CROSS_SIBLING:
		return make(OSTypeAlloc(CrossSibling));
	case CROSS_EMPTY:
		return make(OSTypeAlloc(CrossEmpty));
	default:
		return nullptr;
	}
}

/* `call` on `object` as a pointer of class `as`; `otherwise` if it is no such object. */
template <typename Call> static uint64_t with(CrossBase *object, enum cross_class as, Call call)
{
	switch (as) {
	case CROSS_MIDDLE:
		if (auto middle = OSDynamicCast(CrossMiddle, object))
			return call(middle);
		return NONE;
	case CROSS_LEAF:
		if (auto leaf = OSDynamicCast(CrossLeaf, object))
			return call(leaf);
		return NONE;
	case CROSS_TOP:
		if (auto top = OSDynamicCast(CrossTop, object))
			return call(top);
		return NONE;
	case CROSS_SIBLING:
		if (auto sibling = OSDynamicCast(CrossSibling, object))
			return call(sibling);
		return NONE;
	case CROSS_EMPTY:
		if (auto empty = OSDynamicCast(CrossEmpty, object))
			return call(empty);
		return NONE;
	default:
		return NONE;
	}
}

uint64_t cxx_digits(CrossBase *object, enum cross_class as)
{
	if (as == CROSS_BASE)
		return object->digits();
	return with(object, as, [](auto *it) { return it->digits(); });
}

uint64_t cxx_const_digits(const CrossBase *object, enum cross_class as)
{
	if (as == CROSS_BASE)
		return object->constDigits();
	return with(const_cast<CrossBase *>(object), as,
		    [](const auto *it) { return it->constDigits(); });
}

template <typename T> static uint64_t add_digits(T *object)
{
	uint64_t after = NONE;
	return object->AddDigits(9, &after) == kIOReturnSuccess ? after : NONE;
}

uint64_t cxx_add_digits(CrossBase *object, enum cross_class as)
{
	if (as == CROSS_BASE)
		return add_digits(object);
	return with(object, as, [](auto *it) { return add_digits(it); });
}

uint64_t cxx_level(CrossBase *object, enum cross_class as)
{
	return with(object, as, [](auto *it) { return it->level(); });
}

uint64_t cxx_level_by_message(CrossBase *object, enum cross_class as)
{
	return with(object, as, [](auto *it) {
		uint64_t level = NONE;
		return it->Level(&level) == kIOReturnSuccess ? level : NONE;
	});
}

uint64_t cxx_plain_functions(CrossBase *object)
{
	return object->times(3) * 100 + OSRequiredCast(CrossMiddle, object)->thrice(3);
}

const void *cxx_vtable(const CrossBase *object)
{
	return *reinterpret_cast<void *const *>(object);
}

const void *cxx_ivars(CrossBase *object, enum cross_class as)
{
	if (as == CROSS_BASE)
		return object->ivars;
	return reinterpret_cast<const void *>(
		with(object, as, [](auto *it) { return reinterpret_cast<uint64_t>(it->ivars); }));
}

size_t cxx_size(enum cross_class cls)
{
	static const size_t sizes[] = {
		sizeof(CrossBase), sizeof(CrossMiddle),  sizeof(CrossLeaf),
		sizeof(CrossTop),  sizeof(CrossSibling), sizeof(CrossEmpty)
	};
	return sizes[cls];
}

kern_return_t cxx_work(CrossBase *target, CrossBase *worker, uint64_t value, uint64_t reference)
{
	OSAction *action = nullptr;
	kern_return_t ret = OSRequiredCast(CrossMiddle, target)
				    ->CreateActiononWorked(sizeof(reference), &action);
	if (ret != kIOReturnSuccess)
		return ret;
	*static_cast<uint64_t *>(action->GetReference()) = reference;
	ret = worker->Work(value, action);
	if (ret == kIOReturnSuccess)
		ret = action->Cancel_f(nullptr, nullptr);
	OSSafeReleaseNULL(action);
	return ret;
}

uint64_t cxx_blocks(IODispatchQueue *queue, void (*end)(void *))
{
#ifdef __BLOCKS__
	static uint64_t seen;
	__block uint64_t here = 1; // sees what the calls that wait have done
	kern_return_t ret = queue->DispatchSync(^{
	  here = here * 10 + 2;
	});
	if (ret == kIOReturnSuccess)
		ret = queue->RunAction(^kern_return_t {
		  here = here * 10 + 3;
		  return kIOReturnBusy;
		});
	if (ret != kIOReturnBusy)
		return NONE;
	OSArray *array = OSArray::withCapacity(1);
	__block bool walked = array->setObject(queue);
	array->iterateObjects(^bool(OSObject *object) {
	  walked = walked && object == queue;
	  return false;
	});
	OSSafeReleaseNULL(array);
	if (!walked)
		return NONE;
	seen = here;
	uint64_t digit = 4;
	ret = queue->DispatchAsync(^{
	  seen = seen * 10 + digit;
	});
	if (ret == kIOReturnSuccess)
		ret = queue->Cancel(^{
		  seen = seen * 10 + digit + 1;
		  end(&seen);
		});
	/* It refuses now, and the blocks are given back unused. */
	if (ret != kIOReturnSuccess || queue->Cancel(nullptr) == kIOReturnSuccess)
		return NONE;
	digit = 9;
	ret = queue->DispatchAsync(^{
	  seen = digit;
	});
	return ret == kIOReturnSuccess ? NONE : here;
#else
	(void)queue;
	(void)end;
	return 0;
#endif
}
