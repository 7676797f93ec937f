/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The part of IOLib.h that is another in C++. Included by it, never by itself. */

#include <new>
#include <type_traits>

/* `count` elements of `type`, zeroed, then constructed; NULL: out of memory, or too many for it. */
#define IONewZero(type, count) (dext_new_zero<type>(count))

/* Destroy and free what IONewZero gave, and forget it. */
#define IOSafeDeleteNULL(pointer, type, count) (dext_delete_null<type>((pointer), (count)))

/* What IONewZero does; the elements are the caller's, for IOSafeDeleteNULL. */
template <typename T> inline T *dext_new_zero(size_t count)
{
	static_assert(alignof(T) <= alignof(max_align_t), "the heap has no such alignment");
	T *elements = static_cast<T *>(calloc(count, sizeof(T)));
	if constexpr (!std::is_trivially_default_constructible<T>::value)
		for (size_t i = 0; elements != nullptr && i < count; i++)
			::new (static_cast<void *>(elements + i)) T();
	return elements;
}

/* What IOSafeDeleteNULL does; NULL is ignored. */
template <typename T> inline void dext_delete_null(T *&elements, size_t count)
{
	if constexpr (!std::is_trivially_destructible<T>::value)
		for (size_t i = count; elements != nullptr && i-- > 0;)
			elements[i].~T();
	IOFree(elements, count * sizeof(T));
	elements = nullptr;
}
