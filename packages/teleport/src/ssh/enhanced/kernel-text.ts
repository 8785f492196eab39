// Bytes from the kernel → text fields, as contracts' textField and textListField do; nearly all of them are plain
// ASCII, for which Node has an answer many times faster than decoding by hand.
import { isAscii } from 'node:buffer';
import {
  type TextField,
  type TextListField,
  textField,
  textListField,
} from '@sallyport/contracts/events/event.ts';

export function kernelText<K extends string>(name: K, bytes: Buffer): TextField<K> {
  if (!isAscii(bytes)) return textField(name, bytes);
  return { [name]: bytes.toString('latin1') } as TextField<K>;
}

export function kernelTexts<K extends string>(name: K, list: readonly Buffer[]): TextListField<K> {
  if (!list.every((bytes) => isAscii(bytes))) return textListField(name, list);
  return { [name]: list.map((bytes) => bytes.toString('latin1')) } as TextListField<K>;
}
