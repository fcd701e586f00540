"""Procedural pictures with complete annotation: coloured shapes and a short text.

A `Scene` is a value; everything else is a pure function of it: the picture at any
size, one boolean mask and one box per object, a caption, a description, questions with
answers, detection strings and the text that is written in the picture. Nothing is
downloaded, and the same random generator state gives the same scene on any machine.

    scene = sample_scene(scene_generator(seed=1, index=0))
    picture = render(scene, 448)             # uint8[448, 448, 3]
    caption(scene)                           # "a red circle and a blue star"
    masks(scene, 448), boxes_xyxy(scene, 448)  # bool[N, 448, 448], float32[N, 4]

Lengths are in canvas units. The canvas is `CANVAS_SIZE` = 84 units wide and high, so
at the size of the small trained preset one unit is one pixel of the model.
All orders are fixed so that every text can be compared exactly: objects are listed from
left to right (by the centre of their box), detections in the order of the names asked
for and from left to right within a name.
"""

from keras_pg2.datasets.scenes.drawing import boxes_xyxy as boxes_xyxy
from keras_pg2.datasets.scenes.drawing import masks as masks
from keras_pg2.datasets.scenes.drawing import render as render
from keras_pg2.datasets.scenes.scene import CANVAS_SIZE as CANVAS_SIZE
from keras_pg2.datasets.scenes.scene import CHARACTERS as CHARACTERS
from keras_pg2.datasets.scenes.scene import COLORS as COLORS
from keras_pg2.datasets.scenes.scene import MAX_CHARACTERS as MAX_CHARACTERS
from keras_pg2.datasets.scenes.scene import MAX_OBJECTS as MAX_OBJECTS
from keras_pg2.datasets.scenes.scene import POSITIONS as POSITIONS
from keras_pg2.datasets.scenes.scene import SHAPES as SHAPES
from keras_pg2.datasets.scenes.scene import Scene as Scene
from keras_pg2.datasets.scenes.scene import SceneObject as SceneObject
from keras_pg2.datasets.scenes.scene import sample_scene as sample_scene
from keras_pg2.datasets.scenes.scene import scene_generator as scene_generator
from keras_pg2.datasets.scenes.texts import QUESTION_KINDS as QUESTION_KINDS
from keras_pg2.datasets.scenes.texts import Example as Example
from keras_pg2.datasets.scenes.texts import Question as Question
from keras_pg2.datasets.scenes.texts import caption as caption
from keras_pg2.datasets.scenes.texts import description as description
from keras_pg2.datasets.scenes.texts import detection_names as detection_names
from keras_pg2.datasets.scenes.texts import detection_target as detection_target
from keras_pg2.datasets.scenes.texts import examples as examples
from keras_pg2.datasets.scenes.texts import ocr_text as ocr_text
from keras_pg2.datasets.scenes.texts import questions as questions
